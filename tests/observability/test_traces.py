"""Traces as a collector gets them, over real OTLP: the story of a round, and nobody's address in it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from celery import Celery
from celery.beat import Scheduler
from fastapi.testclient import TestClient
from sqlalchemy import select, text
from structlog.testing import capture_logs

from service import tracing
from service.database import Database
from service.database.tables import Delivery, DeliveryKind, DeliveryState, Reader, ReaderState
from service.delivery import crew, sender
from service.digests import plan
from service.doorbell import Doorbell, Task
from service.settings import Settings
from service.subscribers import catalogue
from service.subscribers.tokens import Links, Purpose
from service.tracing import Process
from service.web.app import create_app
from tests import factories
from tests.delivery.servers import Sink, sink, whenever
from tests.delivery.test_sender import aimed
from tests.observability.collector import Collector, collecting

READER = "ada.secret@example.org"
FEED = """<rss version="2.0"><channel><title>t</title><item><title>Walking robots</title>
<link>https://journal.example/1</link><guid>1</guid><description>{words}</description><pubDate>{today}</pubDate>
</item></channel></rss>"""


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No variable of OpenTelemetry is set and nothing is traced, before and after."""
    for name in [name for name in os.environ if name.startswith(("OTEL_", "FASTAPI_OTEL"))]:
        monkeypatch.delenv(name)
    yield monkeypatch
    tracing.stop()


@pytest.fixture
def collector(quiet: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector to which this process's traces go, once it starts them."""
    with collecting() as running:
        quiet.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.endpoint)
        quiet.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield running
        tracing.stop()


@pytest.fixture
def traced(collector: Collector, database: Database, settings: Settings) -> Iterator[tuple[Database, Settings]]:
    """A database that was opened when tracing had begun."""
    assert tracing.start(Process.CLI)
    assert settings.database_url is not None
    with Database(settings.database_url) as opened:
        yield opened, settings


@pytest.fixture
def feed() -> Iterator[str]:
    """The address of a feed with one paper, and with a key in it."""
    today = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    body = FEED.format(words="They walk. " * 20, today=today).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/key-in-a-path?key-in-a-query"
    server.shutdown()
    server.server_close()


@pytest.fixture
def relay() -> Iterator[Sink]:
    with sink() as server:
        yield server


@pytest.fixture
def worker(
    collector: Collector, settings: Settings, feed: str, relay: Sink, tmp_path: Path
) -> Iterator[tuple[Settings, Path]]:
    """Settings under which a worker of all queues runs, and its log."""
    assert settings.secret is not None
    used = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{relay.port}"})
    environment = os.environ | {
        "PAPERROUND_HOME": str(used.home),
        "PAPERROUND_DATABASE_URL": used.database_url or "",
        "PAPERROUND_SECRET": settings.secret.get_secret_value(),
        "PAPERROUND_SMTP_URL": used.smtp_url or "",
        "PAPERROUND_SITE_URL": used.site_url,
        "PAPERROUND_SOURCES": f"feed:{feed}",
        "PAPERROUND_ALLOW_PRIVATE_SOURCES": "1",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
    }
    path = tmp_path / "worker.log"
    with path.open("wb") as log:
        command = [sys.executable, "-m", "service.cli", "worker", "--concurrency", "1"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        yield used, path
        process.send_signal(signal.SIGTERM)
        assert process.wait(40) == 0, path.read_text()


def until(database: Database, kind: DeliveryKind, log: Path) -> None:
    """Wait for the one mail of that kind to be sent."""
    give_up = time.monotonic() + 30
    statement = select(Delivery.state).where(Delivery.kind == kind)
    while True:
        with database.transaction() as session:
            if session.scalars(statement).all() == [DeliveryState.SENT]:
                return
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_one_trace_tells_a_round_over_the_broker_and_no_trace_tells_of_whom(
    worker: tuple[Settings, Path], database: Database, collector: Collector, relay: Sink, quiet: pytest.MonkeyPatch
) -> None:
    settings, log = worker
    catalogue.sync(database)
    # FastAPI's own traces hold whole paths.
    quiet.setenv("FASTAPI_OTEL_AUTO_CONFIGURE", "true")
    assert tracing.start(Process.WEB)
    assert settings.database_url is not None
    with (
        Database(settings.database_url) as opened,
        TestClient(create_app(settings, opened), base_url="https://papers.example", follow_redirects=False) as browser,
    ):
        form = {"email": READER, "queries": "robots", "hour": "6", "timezone": "UTC", "weekday": list("0123456")}
        assert browser.post("/subscribe", data=form).status_code == 200
        until(database, DeliveryKind.CONFIRM, log)
        with database.transaction() as session:
            reader = session.scalars(select(Reader)).one()
        token = Links(settings).token(Purpose.CONFIRM, reader.id)
        assert browser.post(f"/confirm/{token}").status_code in (200, 303)
        until(database, DeliveryKind.WELCOME, log)
        with database.connection() as connection:
            connection.execute(text("UPDATE reader SET next_digest_at = now() - interval '1 minute'"))
        Doorbell(settings).ring(Task.INGEST_ALL).result(30)
        until(database, DeliveryKind.DIGEST, log)
    tracing.stop()
    collector.wait_for(lambda: [span for span in collector.of("settle") if digest_of(collector, span)])
    collector.wait_for(lambda: [span for span in collector.of("smtp message") if digest_of(collector, span)])

    began = "POST /subscribe"
    [message] = [span for span in collector.of("smtp message") if collector.lineage(span)[0] == began]
    assert collector.lineage(message) == [
        began, "publish send.due", "process send.due", "send", "smtp connection", "smtp message",
    ]  # fmt: skip
    assert message.attributes["server.port"] == relay.port
    assert message.attributes["paperround.smtp.reply"] == "250 2.0.0"
    assert message.attributes["network.protocol.name"] == "smtp"
    assert isinstance(size := message.attributes["paperround.bytes"], int)
    assert size > 1_000

    [first] = [span for span in collector.of("publish ingest.all")]
    story = {tuple(collector.lineage(span)) for span in collector.spans if span.trace == first.trace}
    assert "?" not in {name for names in story for name in names}, "every parent was told of"
    ingest = ("publish ingest.all", "process ingest.all")
    match = (*ingest, "publish match.new", "process match.new")
    planned = (*match, "publish plan.due", "process plan.due")
    sent = (*planned, "publish send.due", "process send.due")
    for lineage in (
        (*ingest, "ingest", "GET"),
        (*ingest, "ingest", "file papers"),
        (*match, "cut edition", "INSERT edition"),
        (*match, "match edition", "COPY match"),
        (*planned, "plan digests", "plan chunk", "choose papers"),
        (*planned, "plan digests", "plan chunk", "COPY digest"),
        (*sent, "send", "claim", "UPDATE delivery"),
        (*sent, "send", "send batch", "compose"),
        (*sent, "send", "send batch", "hand over"),
        (*sent, "send", "send batch", "settle", "UPDATE delivery"),
        (*sent, "send", "smtp connection", "smtp message"),
    ):
        assert lineage in story, "\n".join(sorted(" > ".join(each) for each in story))
    assert {span.service for span in collector.spans} == {"paperround-web", "paperround-worker"}
    assert collector.paths == {"/v1/traces"}

    [got] = [span for span in collector.of("cut edition") if span.attributes]
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    [cut] = [line for line in lines if line.get("event") == "edition.cut"]
    assert (cut["trace_id"], got.trace) == (first.trace, first.trace)
    assert any(span.id == cut["span_id"] for span in collector.of("process match.new"))

    exported = b"".join(collector.raw)
    assert b"POST /confirm/{token}" in exported
    secrets = secrets_in(b"".join(content for _, content in relay.accepted)) | {token.encode()}
    assert len(secrets) > 3
    for secret in secrets | {b"ada.secret", b"example.org", b"key-in", b"They walk"}:
        assert secret not in exported


def digest_of(collector: Collector, span: object) -> bool:
    return "process plan.due" in collector.lineage(span)  # type: ignore[arg-type]


def secrets_in(mails: bytes) -> set[bytes]:
    """The signed parts of the links in these mails."""
    plain = mails.replace(b"=\r\n", b"").replace(b"=\n", b"")
    return {found for found in re.findall(rb"papers\.example/[a-z-]+/([A-Za-z0-9_.~-]{30,})", plain)}
