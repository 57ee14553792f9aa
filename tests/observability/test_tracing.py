"""Spans by the official instrumentations: of requests and SQL, without secrets; and nothing unless asked for."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Iterator

import pytest
from celery import Celery
from fastapi.testclient import TestClient
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from service import tracing
from service.database import Database
from service.settings import Settings, SettingsError
from service.subscribers.tokens import Links
from service.web.app import create_app
from tests import factories


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What was sent, by a provider of the test's own in place of one that sends over a network."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # A process may set its provider once; a test sets one each time.
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing.instrument()
    yield exporter
    CeleryInstrumentor().uninstrument()  # type: ignore[no-untyped-call]  # its constructor has no types
    PsycopgInstrumentor().uninstrument()


def test_requests_and_sql_are_told_without_tokens_values_or_addresses(
    spans: InMemorySpanExporter, migrated_url: str, settings: Settings, database: Database
) -> None:
    reader = factories.reader(database, settings, "ada.secret@example.org", queries=["robots"])
    token = Links(settings).unsubscribe(reader).rpartition("/")[2]
    with Database(migrated_url) as traced:
        app = create_app(settings, traced)
        tracing.instrument_site(app)
        with TestClient(app, base_url="https://papers.example", client=("203.0.113.9", 5000)) as browser:
            assert browser.post(f"/unsubscribe/{token}", data={"List-Unsubscribe": "One-Click"}).status_code == 200
            assert browser.get("/healthz").status_code == 200
    sent = spans.get_finished_spans()
    names = [span.name for span in sent]
    assert "POST /unsubscribe/{token}" in names
    assert not any("healthz" in name for name in names)
    statements = [str((span.attributes or {}).get("db.statement", "")) for span in sent]
    assert any(statement.startswith("UPDATE reader") for statement in statements)
    told = "".join(span.to_json() for span in sent)
    for secret in (token, "ada.secret", "203.0.113.9"):
        assert secret not in told


def test_tasks_are_told(spans: InMemorySpanExporter) -> None:
    app = Celery("trial", set_as_current=False)

    def send() -> None:
        pass

    app.task(name="send.due")(send).apply()
    assert [span.name for span in spans.get_finished_spans()] == ["run/send.due"]


def test_nothing_is_loaded_unless_a_collector_is_named() -> None:
    code = (
        "import sys; from service import tracing; tracing.begin('web');"
        " print([name for name in sys.modules if name.startswith('opentelemetry.sdk')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={})
    assert done.stdout.strip() == "[]"


def test_a_missing_extra_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **options: object) -> object:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return real(name, *rest, **options)  # type: ignore[arg-type]  # handed on as it came

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SettingsError, match=r"paperround\[otel\]"):
        tracing.begin("web")
