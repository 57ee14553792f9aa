"""Fetching from a server of our own that behaves as real ones do on bad days."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.papers.fetching import Fetcher, FetchError, addresses
from service.papers.fetching import fetcher as fetching
from service.papers.record import DayRead, PaperRecord, Row, SourceError
from service.papers.sources.arxiv_rss import ArxivFeed
from service.papers.sources.huggingface import HuggingFaceDaily
from service.settings import Settings


class Server(ThreadingHTTPServer):
    answers: list[tuple[int, dict[str, str], bytes]]
    """Given in turn; the last one again and again."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = [(200, {}, b"fine")]
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(f"{self.path} {self.headers['User-Agent']}")
        status, headers, body = self.server.answers[0]
        if len(self.server.answers) > 1:
            self.server.answers.pop(0)
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield made
        made.shutdown()


@pytest.fixture
def fetcher(settings: Settings) -> Fetcher:
    return Fetcher(settings, pause=0.01)


def test_a_fetch_says_who_it_is(server: Server, fetcher: Fetcher) -> None:
    assert fetcher.get(server.url + "/a", {"q": "x y"}) == b"fine"
    assert server.asked[0].startswith("/a?q=x")
    assert "Paperround/" in server.asked[0]
    assert "digest@papers.example" in server.asked[0]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_refusal_is_tried_again_after_the_wait_asked_for(
    server: Server, fetcher: Fetcher, status: int
) -> None:
    server.answers = [(status, {"Retry-After": "0"}, b""), (200, {}, b"now")]
    assert fetcher.get(server.url) == b"now"


def test_refusals_without_end_are_given_up_with_one_line(server: Server, fetcher: Fetcher) -> None:
    server.answers = [(503, {}, b"")]
    with pytest.raises(FetchError, match="answered 503, 3 times: try again later"):
        fetcher.get(server.url)


def test_a_404_is_not_tried_again(server: Server, fetcher: Fetcher) -> None:
    server.answers = [(404, {}, b"")]
    with pytest.raises(FetchError, match="answered 404"):
        fetcher.get(server.url)
    assert len(server.asked) == 1


def test_a_body_cut_short_is_tried_again(server: Server, fetcher: Fetcher) -> None:
    server.answers = [(200, {"Content-Length": "100", "Connection": "close"}, b"half"), (200, {}, b"whole")]
    assert fetcher.get(server.url) == b"whole"


def test_a_body_without_end_is_refused(server: Server, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetching, "LARGEST_BODY", 10)
    server.answers = [(200, {}, b"x" * 11)]
    with pytest.raises(FetchError, match="sends more than"):
        fetcher.get(server.url)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "http://localhost/", "http://[::1]/", "http://10.1.2.3/"])
def test_private_addresses_are_not_reached(settings: Settings, url: str) -> None:
    careful = Fetcher(settings.model_copy(update={"allow_private_sources": False}))
    with pytest.raises(FetchError, match="is a private address"):
        careful.get(url)


def test_a_redirect_into_the_private_network_is_not_followed(
    server: Server, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the server itself is taken for public here; where it leads to is not."""
    asked = server.asked
    server.answers = [(302, {"Location": f"http://localhost:{server.server_port}/inside"}, b"")]
    careful = Fetcher(settings.model_copy(update={"allow_private_sources": False}))
    monkeypatch.setattr(
        addresses, "is_public", lambda address, really=addresses.is_public: not asked or really(address)
    )
    with pytest.raises(FetchError, match="localhost is a private address"):
        careful.get(server.url)
    assert len(server.asked) == 1


def test_a_host_that_is_not_there_is_not_waited_for(settings: Settings) -> None:
    with pytest.raises(FetchError, match="cannot be reached"):
        Fetcher(settings, pause=60).get("http://no-such-host.invalid/")


def row(number: int) -> dict[str, object]:
    return {"paper": {"id": f"2511.{number:05d}", "title": f"Row {number}"}}


def test_daily_papers_are_read_page_by_page_and_day_by_day(server: Server, fetcher: Fetcher) -> None:
    full = json.dumps([row(n) for n in range(100)]).encode()
    rest = json.dumps([row(n) for n in range(100, 104)]).encode()
    server.answers = [(200, {}, full), (200, {}, rest), (500, {}, b""), (500, {}, b""), (500, {}, b""), (200, {}, rest)]
    since = datetime.now(UTC).date() - timedelta(days=2)
    rows: list[Row] = []
    with pytest.raises(SourceError, match="1 of 3 days could not be read"):
        rows.extend(HuggingFaceDaily(server.url, fetcher).fetch(since))
    assert sum(isinstance(each, PaperRecord) for each in rows) == 108
    days = [each for each in rows if isinstance(each, DayRead)]
    assert [each.complete for each in days] == [True, False, True], "a day that fails costs that day"


def test_a_site_that_is_away_is_told_after_two_days(server: Server, fetcher: Fetcher) -> None:
    server.answers = [(200, {}, b"<html>not json</html>")]
    since = datetime.now(UTC).date() - timedelta(days=9)
    with pytest.raises(SourceError, match="not JSON"):
        list(HuggingFaceDaily(server.url, fetcher).fetch(since))
    assert len(server.asked) == 2


def test_arxiv_is_asked_once_for_all_categories(server: Server, fetcher: Fetcher) -> None:
    server.answers = [(200, {}, b"<rss><channel></channel></rss>")]
    assert list(ArxivFeed(server.url, ["cs.CL", "cs.CV"], fetcher).fetch(datetime.now(UTC).date())) == []
    assert [asked.split(" ")[0] for asked in server.asked] == ["/rss/cs.CL+cs.CV"]
