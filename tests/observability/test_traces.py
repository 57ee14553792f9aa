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
from sqlalchemy.exc import DataError
from structlog.testing import capture_logs

from service import tracing
from service.database import Database
from service.database.tables import Delivery, DeliveryKind, DeliveryState, Reader
from service.delivery import crew, sender
from service.digests import plan
from service.doorbell import Doorbell, Task
from service.settings import Settings
from service.subscribers.tokens import Links, Purpose
from service.subscribers.topics import catalogue
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
    """A database that was opened when tracing to the collector had begun."""
    assert tracing.start(Process.CLI), collector.endpoint
    with Database(database.engine.url.render_as_string(hide_password=False)) as opened:
        yield opened, settings


@pytest.fixture
def feed() -> Iterator[str]:
    """The address of a feed with one paper, and with a key in it."""
    today = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime())
    body = FEED.format(words="They walk. " * 20, today=today).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
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
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
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
    give_up = time.monotonic() + 60
    statement = select(Delivery.state).where(Delivery.kind == kind)
    while True:
        with database.transaction() as session:
            if session.scalars(statement).all() == [DeliveryState.SENT]:
                return
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.timeout(180)
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

    [first] = collector.of("publish ingest.all")
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
    return set(re.findall(rb"papers\.example/[a-z-]+/([A-Za-z0-9_.~-]{30,})", plain))


def test_requests_are_named_by_their_routes_and_a_strangers_trace_is_not_gone_on_with(
    traced: tuple[Database, Settings], collector: Collector
) -> None:
    opened, settings = traced
    catalogue.sync(opened)
    numbered = "ab" * 16
    with TestClient(create_app(settings, opened), base_url="https://papers.example") as browser:
        for path in (
            "/", "/papers/secret-of-a-path", "/api/v1/papers/secret-of-a-path", "/nowhere/secret-of-a-path", "/healthz",
            "/search?q=secret-of-a-query", "/preferences/secret-of-a-token", "/static/style.css?v=secret-of-a-query",
        ):  # fmt: skip
            browser.get(path, headers={"traceparent": f"00-{numbered}-{'cd' * 8}-01", "user-agent": "secret-agent"})
        browser.request("SECRET", "/")
    tracing.stop()
    named = {span.name for span in collector.spans if not span.parent}
    assert named == {
        "GET /", "GET /papers/{paper_id}", "GET /api/v1/papers/{paper_id}", "GET", "GET /search",
        "GET /preferences/{token}", "GET /static", "HTTP /",
    }  # fmt: skip
    assert any(
        collector.lineage(span)[0] == "GET /search" for span in collector.spans if "db.query.text" in span.attributes
    )
    [told] = collector.of("GET /api/v1/papers/{paper_id}")
    assert told.attributes == {
        "http.request.method": "GET", "url.scheme": "https", "http.response.status_code": 422,
        "http.route": "/api/v1/papers/{paper_id}",
    }  # fmt: skip
    assert b"secret" not in b"".join(collector.raw).lower()
    assert numbered not in {span.trace for span in collector.spans}


def test_refusals_are_told_by_their_codes_and_one_accepted_message_in_a_hundred(
    traced: tuple[Database, Settings], collector: Collector
) -> None:
    opened, settings = traced
    ids = digests_for(opened, settings, ["refused.secret", *(f"r{number}" for number in range(101))])
    with sink(RCPT=whenever("refused", "550 5.1.1 <refused.secret@example.org> is nobody here")) as server:
        report = sender.send_due(opened, aimed(settings, server, send_connections=1))
    tracing.stop()
    assert (report.sent, report.failed) == (101, 1)
    told = collector.of("smtp message")
    [refused] = [span for span in told if span.failed]
    assert refused.attributes["paperround.smtp.reply"] == "550 5.1.1"
    assert refused.attributes["error.type"] == "550"
    assert refused.attributes["paperround.delivery"] == ids[0]
    assert len(told) - 1 in (1, 2)
    [connection] = collector.of("smtp connection")
    assert connection.attributes["paperround.messages"] == 102
    assert sum(int(str(span.attributes["paperround.deliveries"])) for span in collector.of("send batch")) == 102
    assert b"@example.org" not in b"".join(collector.raw)


def digests_for(database: Database, settings: Settings, names: list[str]) -> list[int]:
    """A digest in the outbox for each of these readers; the ids of the deliveries."""
    for name in names:
        factories.reader(database, settings, f"{name}@example.org", queries=["robots"])
    factories.edition(database, factories.record("Robots"))
    plan.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        return list(session.scalars(select(Delivery.id).order_by(Delivery.reader_id)))


def test_a_crew_sends_within_the_rounds_trace(
    traced: tuple[Database, Settings], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, settings = traced
    digests_for(opened, settings, [f"r{number}" for number in range(40)])
    monkeypatch.setattr(crew, "WORTH_A_PROCESS", 20)
    with sink() as server, tracing.span("round"):
        # Slow enough for the other to begin before all is sent.
        target = aimed(settings, server, send_batch=2, send_connections=1)
        assert crew.send_due_together(opened, target, processes=2).sent == 40
    tracing.stop()
    [beside] = collector.of("send beside")
    assert collector.lineage(beside) == ["round", "send beside"]
    assert beside.service == "paperround-sender"


class Away:
    """A port behind which nobody takes a trace."""

    def __init__(self, *, hangs: bool) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        if hangs:
            # The kernel accepts, and nobody ever answers.
            self._socket.listen(64)
        self.endpoint = f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def close(self) -> None:
        self._socket.close()


@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
def test_a_collector_that_is_away_costs_no_mail_and_no_time(
    quiet: pytest.MonkeyPatch, database: Database, settings: Settings, *, hangs: bool
) -> None:
    away = Away(hangs=hangs)
    quiet.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", away.endpoint)
    # So that the queue runs full within the test.
    quiet.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    quiet.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    quiet.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "8")
    digests_for(database, settings, [f"r{number}" for number in range(60)])
    assert settings.database_url is not None
    with capture_logs() as lines, sink() as server:
        assert tracing.start(Process.SENDER)
        with Database(settings.database_url) as opened:
            began = time.monotonic()
            report = sender.send_due(opened, aimed(settings, server, send_batch=5))
            took = time.monotonic() - began
        began = time.monotonic()
        tracing.stop()
        left = time.monotonic() - began
    away.close()
    assert report.sent == 60
    assert took < 8, "less than one try of an export"
    assert left < tracing.LEAVING_SECONDS + 1
    lost = [line for line in lines if line["event"] == "traces.lost"]
    assert len(lost) <= 1, "told once, not for each batch"


def test_that_the_collector_is_away_is_told_once_without_its_address(
    quiet: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    away = Away(hangs=False)
    quiet.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", away.endpoint.replace("//", "//user:secret@"))
    quiet.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    with capture_logs() as lines:
        assert tracing.start(Process.CLI)
        for _ in range(3):
            with tracing.span("round"):
                pass
            tracing.flush()
        tracing.stop()
    away.close()
    assert [line["event"] for line in lines] == ["traces.lost"]
    assert "secret" not in capfd.readouterr().err + str(lines)


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"}, []),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, ["traces.off"]),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_BSP_MAX_QUEUE_SIZE": "0"}, ["traces.off"]),
    ],
)
def test_without_a_usable_endpoint_nothing_is_traced(
    quiet: pytest.MonkeyPatch, variables: dict[str, str], told: list[str]
) -> None:
    for name, value in variables.items():
        quiet.setenv(name, value)
    with capture_logs() as lines:
        assert not tracing.start(Process.WEB)
    assert [line["event"] for line in lines] == told
    with tracing.span("round") as span:
        span.tell({"paperround.papers": 1})
        assert (tracing.recording(), tracing.carried(), span.carried(), tracing.clock()) == (False, {}, {}, 0)


def test_without_the_extra_an_endpoint_is_told_of_and_work_goes_on(quiet: pytest.MonkeyPatch) -> None:
    quiet.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    quiet.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with capture_logs() as lines:
        assert not tracing.start(Process.WEB)
    assert [(line["event"], line["remedy"]) for line in lines] == [
        ("traces.not_installed", "pip install 'paperround[traces]'")
    ]


@pytest.mark.slow
def test_a_process_without_an_endpoint_does_not_even_import_the_exporter(
    quiet: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    quiet.setenv("PAPERROUND_HOME", str(tmp_path))
    program = (
        "import sys, service.cli, service.web.server, workers.tasks; from service import tracing as t\n"
        "t.start(t.Process.WEB); print([m for m in sys.modules if m.startswith(('opentelemetry.exporter', 'google'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]", done.stderr


def test_the_operators_words_on_name_sampling_and_resource_stand(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "papers")
    assert tracing.start(Process.BEAT)
    with tracing.span("round"):
        pass
    tracing.stop()
    assert [span.service for span in collector.spans] == ["papers"]
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert tracing.start(Process.BEAT)
    with tracing.span("round"):
        assert not tracing.recording()
    tracing.stop()
    assert len(collector.spans) == 1


def test_the_schedules_messages_say_of_which_trace_they_are(collector: Collector) -> None:
    app = Celery("beat", broker="memory://", set_as_current=False)
    app.conf.beat_schedule = {"plan.due": {"task": "plan.due", "schedule": 0.01, "options": {"queue": "plan"}}}
    assert tracing.start(Process.BEAT)
    scheduler = Scheduler(app=app, lazy=True)
    scheduler.setup_schedule()
    scheduler.apply_async(scheduler.schedule["plan.due"])
    tracing.stop()
    [published] = collector.of("publish plan.due")
    assert (published.service, published.parent) == ("paperround-beat", "")
    with app.connection_for_read() as connection, connection.SimpleQueue("plan") as queue:
        carried = queue.get(timeout=5).headers["traceparent"]
    assert carried.startswith(f"00-{published.trace}-{published.id}-")


def test_a_fork_does_not_export_what_its_parent_is_to_export(collector: Collector) -> None:
    assert tracing.start(Process.WORKER)
    with tracing.span("before the fork"):
        pass
    child = os.fork()
    if child == 0:
        os._exit(int(tracing.on()))
    assert os.waitpid(child, 0)[1] == 0
    tracing.stop()
    assert len(collector.of("before the fork")) == 1


def test_an_error_is_told_by_its_class_alone(traced: tuple[Database, Settings], collector: Collector) -> None:
    opened, _ = traced
    with pytest.raises(DataError, match="secret"), tracing.span("round"), opened.connection() as connection:
        connection.execute(text("SELECT CAST(:word AS integer)"), {"word": "secret"})
    tracing.stop()
    assert {(span.name, span.failed, span.attributes["error.type"]) for span in collector.spans} == {
        ("SELECT", True, "InvalidTextRepresentation"),
        ("round", True, "DataError"),
    }
    assert b"secret" not in b"".join(collector.raw)
