"""Traces by OpenTelemetry where the extra ``traces`` is installed and an endpoint is set; else nothing, at no cost.

Rooms say what they do in :func:`span`; whether anybody listens is decided once per process, in :func:`start`. All else
is told by OpenTelemetry's own variables (docs/observability.md). The spans are our own and not those of instrumentation
packages, which would tell raw paths, in which our secrets stand (decision 037).

What goes into a span goes to another system: ids, counts, codes and names of hosts; never an address, a token, what is
bound to a statement, or the words of an error. An error is told by its class.
"""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from enum import Enum, StrEnum
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import structlog

from service import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Token

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

log = structlog.get_logger(__name__)

LEAVING_SECONDS: Final = 2.0
"""At the end of a process, for what has not been exported yet; then it is lost."""
_ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

Value = str | int | float | bool
Attributes = Mapping[str, Value]


class Process(StrEnum):
    """What kind of process this is: the end of its ``service.name``."""

    WEB = "web"
    WORKER = "worker"
    SENDER = "sender"
    """A worker of the queue ``send`` alone, or one of a round's crew."""
    BEAT = "beat"
    INBOUND = "inbound"
    CLI = "cli"


class Kind(Enum):
    """Of a span, as OpenTelemetry has them."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span:
    """A piece of work, current while the ``with`` lasts. This one notes nothing: traces are off."""

    __slots__ = ()

    def tell(self, attributes: Attributes) -> None:
        """Note more about it."""

    def name(self, name: str) -> None:
        """Call it by what turned out to be its name."""

    def fail(self, kind: str) -> None:
        """It came to a bad end, of this kind: a class or a code, without a word more."""

    def carried(self) -> dict[str, str]:
        """It as headers for another process (W3C Trace Context), which makes its spans ``within`` them."""
        return {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def end(self) -> None:
        """For one that was never entered."""


_NOTHING: Final = Span()


class _Kept(Span):
    """One that is recorded."""

    __slots__ = ("_inner", "_token")

    def __init__(self, inner: OtelSpan) -> None:
        self._inner = inner
        self._token: Token[Context] | None = None

    def tell(self, attributes: Attributes) -> None:
        self._inner.set_attributes(attributes)

    def name(self, name: str) -> None:
        self._inner.update_name(name)

    def fail(self, kind: str) -> None:
        from opentelemetry.trace import StatusCode  # noqa: PLC0415 (there only with the extra)

        self._inner.set_attribute("error.type", kind)
        self._inner.set_status(StatusCode.ERROR)

    def carried(self) -> dict[str, str]:
        from opentelemetry import trace  # noqa: PLC0415

        headers: dict[str, str] = {}
        _propagator().inject(headers, trace.set_span_in_context(self._inner))
        return headers

    def end(self) -> None:
        self._inner.end()

    def __enter__(self) -> Self:
        from opentelemetry import context, trace  # noqa: PLC0415

        self._token = context.attach(trace.set_span_in_context(self._inner))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        from opentelemetry import context  # noqa: PLC0415

        if kind is not None:
            self.fail(kind.__qualname__)
        self.end()
        if self._token is not None:
            context.detach(self._token)


class _Running:
    """The tracer of this process and the threads behind it."""

    def __init__(self, process: Process) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        ours: dict[str, Value] = {
            "service.name": f"paperround-{process}",
            "service.version": __version__,
            "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
            "process.pid": os.getpid(),
            "paperround.process": str(process),
        }
        # The operator's OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES stand over ours.
        resource = Resource.create(ours).merge(OTELResourceDetector().detect())
        self._away = False
        self._exporter = _noting(OTLPSpanExporter(), self._heard)
        # Not at the end of the process by itself: a collector that hangs would hold it up for half a minute.
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(self._exporter))
        self.tracer: Tracer = self._provider.get_tracer("paperround", __version__)
        self._leave, self._left = threading.Event(), threading.Event()
        # Begun now: at the end of a process no thread can be started any more.
        threading.Thread(target=self._last, name="traces-last", daemon=True).start()

    def stop(self) -> None:
        self._leave.set()
        self._left.wait(LEAVING_SECONDS)

    def flush(self) -> None:
        self._provider.force_flush()

    def _last(self) -> None:
        self._leave.wait()
        if self._away:
            # Nobody takes it: no second try.
            self._exporter.shutdown()
        self._provider.shutdown()
        self._left.set()

    def _heard(self, taken: bool, spans: int) -> None:
        """Say once that the collector is away, and once that it is back; the SDK would say it each time."""
        if not taken and not self._away:
            log.warning("traces.lost", spans=spans, remedy="look at the collector, and at OTEL_EXPORTER_OTLP_ENDPOINT")
        elif taken and self._away:
            log.info("traces.taken_again")
        self._away = not taken


def _noting(inner: SpanExporter, heard: Callable[[bool, int], None]) -> SpanExporter:
    """The exporter, telling ``heard`` of each batch whether it was taken, and its size."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal"):
        # They tell the endpoint's URL, which may hold a password.
        logging.getLogger(name).setLevel(logging.CRITICAL)

    class Noting(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            result = inner.export(spans)
            heard(result is SpanExportResult.SUCCESS, len(spans))
            return result

        def shutdown(self) -> None:
            with suppress(Exception):
                inner.shutdown()

    return Noting()


_running: _Running | None = None


def start(process: Process) -> bool:
    """Begin to trace in this process, if that is wanted and can be; return whether it is traced now.

    Call it after any fork and before the database is opened; again, it changes nothing. Never raises: what keeps traces
    from working is logged, and the work goes on without them.
    """
    global _running  # noqa: PLW0603 (one per process, decided here)
    if _running is not None:
        return True
    if not _wanted():
        return False
    try:
        _running = _Running(process)
    except ImportError:
        log.warning("traces.not_installed", remedy="pip install 'paperround[traces]'")
        return False
    except Exception as error:  # noqa: BLE001 (whatever the environment's variables provoke: mail goes out all the same)
        log.warning("traces.off", error=type(error).__name__, remedy="check the variables OTEL_*")
        return False
    return True


def stop() -> None:
    """End tracing, and export what is left; that may take :data:`LEAVING_SECONDS`."""
    global _running
    running, _running = _running, None
    if running is not None:
        running.stop()


def flush() -> None:
    """Export what has ended by now, however long it takes."""
    if _running is not None:
        _running.flush()


def _forget() -> None:
    """A fork has none of the threads, and what waits is its parent's: it starts for itself, or is not traced."""
    global _running  # noqa: PLW0603
    _running = None


atexit.register(stop)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def _wanted() -> bool:
    told = os.environ
    if not any(told.get(name, "").strip() for name in _ENDPOINTS):
        return False
    if told.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if "otlp" not in told.get("OTEL_TRACES_EXPORTER", "otlp").replace(",", " ").split():
        return False
    protocol = next((told[name] for name in _PROTOCOLS if told.get(name)), "http/protobuf")
    if protocol != "http/protobuf":
        log.warning("traces.off", protocol=protocol, remedy=f"{_PROTOCOLS[1]}=http/protobuf, usually at port 4318")
        return False
    return True


def on() -> bool:
    """Whether this process traces."""
    return _running is not None


def recording() -> bool:
    """Whether what happens now belongs to a span that is recorded."""
    if _running is None:
        return False
    from opentelemetry import trace  # noqa: PLC0415

    return trace.get_current_span().is_recording()


def span(
    name: str, attributes: Attributes | None = None, *, kind: Kind = Kind.INTERNAL, within: Attributes | None = None
) -> Span:
    """A span for a ``with``; a child of the current one, or of that which another process :func:`carried` here.

    Not around a ``yield``: what runs between two values is not its work.
    """
    if _running is None:
        return _NOTHING
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    parent = _carried_here(within) if within is not None else None
    return _Kept(_running.tracer.start_span(name, parent, SpanKind[kind.value], attributes, record_exception=False))


def past(
    name: str, began: int, attributes: Attributes, *, kind: Kind = Kind.INTERNAL, failed: str | None = None
) -> None:
    """Note what has ended just now and ``began`` at that ``time.time_ns()``."""
    if _running is None:
        return
    from opentelemetry.trace import SpanKind  # noqa: PLC0415

    kept = _Kept(_running.tracer.start_span(name, None, SpanKind[kind.value], attributes, start_time=began))
    if failed is not None:
        kept.fail(failed)
    kept.end()


def clock() -> int:
    """The moment for :func:`past`; 0 where nobody would ask for it."""
    return time.time_ns() if _running is not None else 0


def carried() -> dict[str, str]:
    """The current span as :meth:`Span.carried`; empty where there is none."""
    if _running is None:
        return {}
    headers: dict[str, str] = {}
    _propagator().inject(headers)
    return headers


def _carried_here(headers: Mapping[str, Any]) -> Context:
    return _propagator().extract({name: value for name, value in headers.items() if isinstance(value, str)})  # type: ignore[no-any-return]


def _propagator() -> Any:
    return import_module("opentelemetry.trace.propagation.tracecontext").TraceContextTextMapPropagator()


def in_log(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the line says to which trace and span it belongs."""
    if _running is None:
        return event
    from opentelemetry import trace  # noqa: PLC0415

    here = trace.get_current_span().get_span_context()
    if here.is_valid:
        event["trace_id"], event["span_id"] = f"{here.trace_id:032x}", f"{here.span_id:016x}"
    return event
