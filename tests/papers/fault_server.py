"""All sources played on this machine, with faults of every kind: ``python -m tests.papers.fault_server``.

Shapes are those of recorded answers; every paper is invented. Each source listens on a port of its own, as each has a
host of its own. What is wrong with which answer stands in :class:`Stage`.
"""

from __future__ import annotations

import gzip
import json
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NOTE = "(Invented for a trial of Paperround.)"
CATEGORIES = "cs.CL cs.LG quant-ph"
PRIVATE = "http://10.0.0.1/inside"

Answer = Callable[["Handler"], None]


# ---- answers, good and bad -------------------------------------------------------------------------------------------


def good(body: bytes, kind: str, etag: str = "") -> Answer:
    """Gzipped where that is asked for; 304 where the client has it."""

    def answer(handler: Handler) -> None:
        if etag and handler.headers.get("If-None-Match") == etag:
            handler.server.unchanged += 1
            handler.head(304, {"ETag": etag, "Content-Length": "0"})
            return
        headers = {"Content-Type": kind} | ({"ETag": etag} if etag else {})
        packed = "gzip" in handler.headers.get("Accept-Encoding", "")
        sent = gzip.compress(body) if packed else body
        handler.head(200, headers | ({"Content-Encoding": "gzip"} if packed else {}) | {"Content-Length": len(sent)})
        handler.wfile.write(sent)

    return answer


def refusal(status: int, **headers: str) -> Answer:
    """A status without a body; header names are written with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda handler: handler.head(status, named | {"Content-Length": "0"})


def reset(body: bytes) -> Answer:
    """Half of the body, then the connection is reset."""

    def answer(handler: Handler) -> None:
        handler.head(200, {"Content-Length": len(body)})
        handler.wfile.write(body[: len(body) // 2])
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.close()

    return answer


def lie(body: bytes) -> Answer:
    """A length that is more than comes."""

    def answer(handler: Handler) -> None:
        handler.head(200, {"Content-Length": len(body) + 1_000})
        handler.wfile.write(body)

    return answer


def slow(body: bytes) -> Answer:
    """Some of the body, then nothing for longer than anybody waits."""

    def answer(handler: Handler) -> None:
        handler.head(200, {"Content-Length": len(body)})
        handler.wfile.write(body[:100])
        handler.wfile.flush()
        handler.server.over.wait(30)

    return answer


def cut_gzip(body: bytes) -> Answer:
    """Compressed data that ends early, of the length it claims."""
    packed = gzip.compress(body)[:-20]

    def answer(handler: Handler) -> None:
        handler.head(200, {"Content-Encoding": "gzip", "Content-Length": len(packed)})
        handler.wfile.write(packed)

    return answer


@cache
def _packed_zeros() -> bytes:
    return gzip.compress(bytes(80_000_000), 1)


def gzip_bomb(handler: Handler) -> None:
    packed = _packed_zeros()
    handler.head(200, {"Content-Encoding": "gzip", "Content-Length": len(packed)})
    handler.wfile.write(packed)


def page(handler: Handler) -> None:
    """A web page where data should be, with status 200."""
    body = b"<!doctype html><html><body>Please come back later.</body></html>"
    handler.head(200, {"Content-Type": "text/html", "Content-Length": len(body)})
    handler.wfile.write(body)


# ---- invented papers in each source's shape --------------------------------------------------------------------------


def daily_row(number: int, day: date) -> dict[str, object]:
    title = f"Invented Daily Paper {number}"
    return {
        "paper": {
            "id": f"2511.{number:05}",
            "title": title,
            "summary": f"What daily paper {number}\nis about. {NOTE}",
            "authors": [{"name": f"Daily Inventor {number}", "hidden": False}],
            "publishedAt": f"{day - timedelta(days=1)}T10:00:00.000Z",
            "submittedOnDailyAt": f"{day}T00:00:00.000Z",
            "upvotes": number % 50,
        },
        "title": title,
        "numComments": 1,
    }


def feed_item(number: int, day: date, title: str, kind: str = "new") -> str:
    identifier = f"2511.{number:05}"
    version = 1 if kind == "new" else 4
    return f"""<item><title>{title}</title><link>https://arxiv.org/abs/{identifier}</link>
<description>arXiv:{identifier}v{version} Announce Type: {kind} \nAbstract: On. {NOTE}</description>
<guid isPermaLink="false">oai:arXiv.org:{identifier}v1</guid><category>cs.CL</category><category>94A29</category>
<pubDate>{day:%a, %d %b %Y} 00:00:00 -0500</pubDate><arxiv:announce_type>{kind}</arxiv:announce_type>
<dc:creator>Feed Inventor {number} (Lab, Town), Other Inventor</dc:creator></item>"""


def arxiv_feed(day: date, items: str) -> bytes:
    return f"""<?xml version='1.0' encoding='UTF-8'?><rss xmlns:arxiv="http://arxiv.org/schemas/atom"
xmlns:dc="http://purl.org/dc/elements/1.1/" version="2.0"><channel><title>an invented feed</title>
<pubDate>{day:%a, %d %b %Y} 00:00:00 -0500</pubDate><skipDays><day>Saturday</day><day>Sunday</day></skipDays>
{items}</channel></rss>""".encode()


def oai_record(number: int, day: date, first: date) -> str:
    return f"""<record><header><identifier>oai:arXiv.org:2511.{number:05}</identifier>
<datestamp>{day}</datestamp></header><metadata><arXivRaw xmlns="http://arxiv.org/OAI/arXivRaw/"><id>2511.{number:05}</id>
<version version="v1"><date>{first:%a, %d %b %Y} 10:00:00 GMT</date></version>
<title>Invented Harvested Paper {number}</title><authors>Oai Inventor {number} (Lab) and Other Inventor</authors>
<categories>cs.LG math.OC</categories><abstract>On {number}. {NOTE}</abstract></arXivRaw></metadata></record>"""


def oai(content: str) -> bytes:
    return f"""<?xml version="1.0" encoding="UTF-8"?><OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/">
<responseDate>2026-01-01T00:00:00Z</responseDate>{content}</OAI-PMH>""".encode()


def listed(records: str, token: str = "") -> bytes:
    return oai(f"<ListRecords>{records}<resumptionToken>{token}</resumptionToken></ListRecords>")


NO_RECORDS = oai('<error code="noRecordsMatch">The combination of arguments yields an empty list.</error>')
DELETED = """<record><header status="deleted"><identifier>oai:arXiv.org:2511.69999</identifier>
<datestamp>2026-01-01</datestamp></header></record>"""


def preprint(number: int, day: date, version: int = 1) -> dict[str, object]:
    return {
        "title": f"Invented Preprint {number}",
        "authors": f"Inventor, B. {number}; Other, O.",
        "author_corresponding_institution": "Invented Institute",
        "doi": f"10.1101/2025.11.01.{number:06}",
        "date": day.isoformat(),
        "version": str(version),
        "category": "cell biology",
        "abstract": f"On {number}. {NOTE}",
        "published": "NA",
    }


def preprints(rows: list[dict[str, object]], total: object, cursor: int = 0) -> bytes:
    message = {"status": "ok", "cursor": cursor, "count": len(rows), "total": total}
    return json.dumps({"messages": [message], "collection": rows}).encode()


NO_POSTS = json.dumps({"messages": [{"status": "no posts found"}], "collection": []}).encode()


# ---- the stage -------------------------------------------------------------------------------------------------------


class Stage:
    """Who answers what, and which faults come first. ``expected``: the titles of every good paper that can be had."""

    def __init__(self, today: date, daily_rows: int = 103) -> None:
        self.today = today
        self.days = [today - timedelta(days=n) for n in range(4)]
        self.expected: set[str] = set()
        self._plays: dict[tuple[str, str], list[Answer]] = {}
        self._asked: dict[tuple[str, str], int] = defaultdict(int)
        self._turn = threading.Lock()
        self._huggingface(daily_rows)
        self._arxiv()
        self._preprints()
        self._feeds()

    def answer(self, source: str, key: str) -> Answer:
        """The next answer: those of the play in turn, the last again and again."""
        with self._turn:
            play = self._plays.get((source, key)) or self._plays.get((source, "*")) or [refusal(404)]
            self._asked[source, key] += 1
            return play[min(self._asked[source, key], len(play)) - 1]

    def play(self, source: str, key: str, *answers: Answer) -> None:
        """Begin a play anew."""
        self._plays[source, key] = list(answers)
        self._asked[source, key] = 0

    def asked(self, source: str, key: str) -> int:
        """How often this was asked for."""
        return self._asked[source, key]

    def _huggingface(self, daily_rows: int) -> None:
        def rows(numbers: range, day: date) -> list[dict[str, object]]:
            self.expected |= {f"Invented Daily Paper {number}" for number in numbers}
            return [daily_row(number, day) for number in numbers]

        def body(content: list[dict[str, object]]) -> bytes:
            return json.dumps(content).encode()

        zero, one, two, three = self.days
        kind = "application/json"
        first = body(rows(range(1, 4), zero))
        self.play(
            "huggingface", f"{zero} 0", refusal(429, Retry_After="1"), cut_gzip(first), good(first, kind, '"first"')
        )
        many = rows(range(1_001, 1_001 + daily_rows), one)
        rest = body(many[100:])
        self.play("huggingface", f"{one} 0", good(body(many[:100]), kind))
        self.play("huggingface", f"{one} 1", reset(rest), good(rest, kind))
        self.play("huggingface", f"{two} 0", refusal(500))
        mixed = body([*rows(range(31, 34), three), {"paper": {"id": "2511.00034"}}, {"not": "a row"}])
        self.play("huggingface", f"{three} 0", lie(mixed), good(mixed, kind))

    def _arxiv(self) -> None:
        zero, one, two, three = self.days
        shared = "".join(feed_item(number, zero, f"Invented Daily Paper {number}") for number in (1, 2))
        own = "".join(feed_item(number, zero, f"Invented Announced Paper {number}") for number in range(201, 207))
        self.expected |= {f"Invented Announced Paper {number}" for number in range(201, 207)}
        replaced = feed_item(299, zero, "Invented Old Paper, Replaced", "replace")
        broken = "<item><title>No id at all</title></item>"
        feed = arxiv_feed(zero, shared + own + replaced + broken)
        self.play("arxiv", "*", refusal(503, Retry_After="1"), slow(feed), good(feed, "application/rss+xml", '"a"'))

        kind = "text/xml"
        old = oai_record(398, two, two - timedelta(days=900))
        harvested = {three: range(301, 304), two: range(304, 306), one: range(306, 309)}
        self.expected |= {f"Invented Harvested Paper {number}" for part in harvested.values() for number in part}
        told = {day: "".join(oai_record(n, day, day) for n in numbers) for day, numbers in harvested.items()}
        self.play("arxiv-oai", "*", good(NO_RECORDS, kind))
        self.play("arxiv-oai", f"{three} cs", good(listed(told[three], "more"), kind))
        more = listed(oai_record(309, three, three) + DELETED)
        self.expected.add("Invented Harvested Paper 309")
        self.play("arxiv-oai", "more", refusal(503, Retry_After="1"), good(more, kind))
        self.play("arxiv-oai", f"{two} cs", good(listed(told[two] + old), kind))
        self.play("arxiv-oai", f"{one} cs", reset(listed(told[one])), good(listed(told[one]), kind))
        self.play("arxiv-oai", f"{zero} cs", page)
        self.play("arxiv-api", "*", refusal(429))

    def _preprints(self) -> None:
        zero, one, two, three = self.days
        kind = "application/json"

        def rows(numbers: range, day: date) -> list[dict[str, object]]:
            self.expected |= {f"Invented Preprint {number}" for number in numbers}
            return [preprint(number, day) for number in numbers]

        first = [*rows(range(1, 4), zero), preprint(900, zero, version=3)]
        self.play("biorxiv", f"biorxiv {zero} 0", refusal(503), good(preprints(first, "4"), kind))
        # It says five and gives three.
        self.play("biorxiv", f"biorxiv {one} 0", good(preprints(rows(range(11, 14), one), "5"), kind))
        self.play("biorxiv", f"biorxiv {one} 3", good(preprints([], "5", 3), kind))
        self.play("biorxiv", f"biorxiv {two} 0", good(NO_POSTS, kind))
        self.play("biorxiv", f"biorxiv {three} 0", good(preprints(rows(range(31, 61), three), 32), kind))
        self.play("biorxiv", f"biorxiv {three} 30", good(preprints(rows(range(61, 63), three), 32, 30), kind))
        self.play("biorxiv", "*", refusal(302, Location=PRIVATE))

    def _feeds(self) -> None:
        items = "".join(
            f"<item><title>Invented Feed Paper {n}</title><link>https://journal.example/{n}</link>"
            f"<description>&lt;p&gt;On {n}. {NOTE}&lt;/p&gt;</description>"
            f"<pubDate>{self.today:%a, %d %b %Y} 00:00:00 GMT</pubDate></item>"
            for n in range(1, 4)
        )
        self.expected |= {f"Invented Feed Paper {n}" for n in range(1, 4)}
        journal = f'<?xml version="1.0"?><rss version="2.0"><channel>{items}</channel></rss>'.encode()
        self.play("feeds", "/journal", good(journal, "image/png", '"j"'))
        bomb = b'<?xml version="1.0"?><!DOCTYPE r [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;">]><rss>&b;</rss>'
        self.play("feeds", "/bomb", good(bomb, "application/rss+xml"))
        _packed_zeros()  # made before anybody waits for it
        self.play("feeds", "/gzip-bomb", gzip_bomb)
        self.play("feeds", "/reset", reset(journal))
        self.play("feeds", "/empty", good(b"", "application/rss+xml"))


# ---- the servers -----------------------------------------------------------------------------------------------------


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, source: str, stage: Stage, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.source = source
        self.stage = stage
        self.over = threading.Event()
        self.unchanged = 0
        """Answers "304 Not Modified" given."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that turn away from a bad answer are what is wanted here."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.close_connection = True
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.server.stage.answer(self.server.source, self._key(parts.path, query))(self)

    def _key(self, path: str, query: dict[str, str]) -> str:
        match self.server.source:
            case "huggingface":
                return f"{query.get('date')} {query.get('p')}"
            case "arxiv-oai":
                return query.get("resumptionToken") or f"{query.get('from')} {query.get('set')}"
            case "biorxiv":
                _, _, server, day, _, cursor, _ = path.split("/")
                return f"{server} {day} {cursor}"
            case _:
                return path

    def head(self, status: int, headers: Mapping[str, object]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def playing(stage: Stage, first_port: int = 0) -> Iterator[dict[str, Server]]:
    """The servers, by source; on ports from ``first_port`` on, or any that are free."""
    names = ("huggingface", "arxiv", "arxiv-oai", "arxiv-api", "biorxiv", "feeds")
    servers = {name: Server(name, stage, first_port + number if first_port else 0) for number, name in enumerate(names)}
    for server in servers.values():
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield servers
    finally:
        for server in servers.values():
            server.over.set()
            server.shutdown()
            server.server_close()


def environment(servers: dict[str, Server]) -> dict[str, str]:
    """The settings under which Paperround reads these servers."""
    feeds = " ".join(
        f"feed:{servers['feeds'].url}/{name}" for name in ("journal", "bomb", "gzip-bomb", "reset", "empty")
    )
    return {
        "PAPERROUND_SOURCES": f"huggingface arxiv arxiv-oai biorxiv medrxiv {feeds} arxiv-api",
        "PAPERROUND_HUGGINGFACE_URL": servers["huggingface"].url,
        "PAPERROUND_ARXIV_RSS_URL": servers["arxiv"].url,
        "PAPERROUND_ARXIV_OAI_URL": servers["arxiv-oai"].url,
        "PAPERROUND_ARXIV_API_URL": servers["arxiv-api"].url,
        "PAPERROUND_BIORXIV_URL": servers["biorxiv"].url,
        "PAPERROUND_ARXIV_CATEGORIES": CATEGORIES,
        "PAPERROUND_ALLOW_PRIVATE_SOURCES": "1",
        "PAPERROUND_FETCH_TIMEOUT_SECONDS": "1",
        "PAPERROUND_FETCH_PACE_SECONDS": "0",
        "PAPERROUND_FETCH_RETRY_SECONDS": "0.1",
    }


def main() -> None:
    stage = Stage(datetime.now(UTC).date())
    with playing(stage, first_port=8900) as servers:
        for name, value in environment(servers).items():
            print(f"export {name}='{value}'", flush=True)  # noqa: T201 (to be sourced by a shell)
        print(f"# {len(stage.expected)} good papers can be had; Ctrl-C stops", flush=True)  # noqa: T201
        threading.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
