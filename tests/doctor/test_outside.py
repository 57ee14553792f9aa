"""The site as others reach it, and the clock, over real HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from service.doctor import outside
from service.doctor.findings import Verdict
from service.settings import Settings


@contextmanager
def answering(status: int = 200, body: str = "ok\n", **headers: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body.encode())

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize(
    ("status", "body", "headers", "verdict", "told"),
    [
        (200, "ok\n", {}, Verdict.WARNING, "private address"),
        (200, "<h1>Welcome</h1>", {}, Verdict.FAILURE, "another program"),
        (502, "", {}, Verdict.FAILURE, "502"),
        (301, "", {"Location": "https://elsewhere.example/"}, Verdict.WARNING, "RFC 8058"),
    ],
)
def test_what_answers_at_the_public_address_is_told(
    settings: Settings, status: int, body: str, headers: dict[str, str], verdict: Verdict, told: str
) -> None:
    with answering(status, body, **headers) as url:
        (finding,) = outside.site(settings.model_copy(update={"site_url": url}))
    assert finding.verdict is verdict
    assert told in finding.detail


def test_a_site_that_does_not_answer_is_a_warning(settings: Settings) -> None:
    (finding,) = outside.site(settings.model_copy(update={"site_url": "http://127.0.0.1:9"}))
    assert finding.verdict is Verdict.WARNING
    assert "cannot be fetched" in finding.detail


@pytest.mark.parametrize(("off", "verdict"), [(0, Verdict.OK), (120, Verdict.WARNING), (-7200, Verdict.FAILURE)])
def test_the_clock_is_compared_with_the_first_source(settings: Settings, off: int, verdict: Verdict) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=off), usegmt=True)
    with answering(404, Date=date) as url:
        (finding,) = outside.clock(settings.model_copy(update={"huggingface_url": url}))
    assert finding.verdict is verdict
    assert "127.0.0.1" in finding.detail


def test_without_an_answer_the_clock_is_not_judged(settings: Settings) -> None:
    (finding,) = outside.clock(settings.model_copy(update={"huggingface_url": "http://127.0.0.1:9"}))
    assert finding.verdict is Verdict.OK
    assert "not compared" in finding.detail
