"""Spans for OpenTelemetry, by its own instrumentations: requests, tasks, SQL. Off unless OTEL_* names a collector.

Paths of signed links are secrets and network addresses are nobody's business: a request is known by its route alone.
SQL is told without its values.
"""

from __future__ import annotations

import os
from typing import Any, Final

from fastapi import FastAPI

from service import __version__
from service.settings import SettingsError

_WHERE: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_PRIVATE: Final = (
    "http.url", "http.target", "url.full", "url.path", "url.query",
    "net.peer.ip", "net.peer.port", "client.address", "client.port", "http.user_agent", "user_agent.original",
)  # fmt: skip


def wanted() -> bool:
    """Whether the environment names a collector and does not switch the SDK off."""
    return any(os.environ.get(name) for name in _WHERE) and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def begin(component: str) -> None:
    """Send this process's spans where OTEL_* says, if it does. Once in a process, after any fork.

    Raises :class:`SettingsError` where spans are wanted and the extra is not installed.
    """
    if not wanted():
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415 (an extra, loaded only where it is wanted)
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and spans need another package: pip install 'paperround[otel]'"
        ) from None
    names = {"service.name": f"paperround-{component}", "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(names))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    instrument()


def instrument() -> None:
    """Make spans of tasks and of SQL from now on."""
    from opentelemetry.instrumentation.celery import CeleryInstrumentor  # noqa: PLC0415
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor  # noqa: PLC0415

    CeleryInstrumentor().instrument()  # type: ignore[no-untyped-call]  # its constructor has no types
    PsycopgInstrumentor().instrument()


def instrument_site(app: FastAPI) -> None:
    """Make spans of requests to the site, where spans are wanted."""
    if not wanted():
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415

    FastAPIInstrumentor.instrument_app(
        app, server_request_hook=_hide, excluded_urls="healthz,readyz,metrics,static", exclude_spans=["receive", "send"]
    )


def _hide(span: Any, _scope: dict[str, Any]) -> None:
    for name in _PRIVATE:
        span.set_attribute(name, "")
