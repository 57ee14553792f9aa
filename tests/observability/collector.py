"""An OpenTelemetry collector: takes traces over OTLP/HTTP and keeps what it was told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status


@dataclass(frozen=True, slots=True)
class Told:
    """A span as it was exported."""

    name: str
    trace: str
    id: str
    parent: str
    """The id of its parent; empty for the first of a trace."""
    service: str
    failed: bool
    attributes: dict[str, object]


@dataclass
class Collector:
    endpoint: str
    spans: list[Told] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    def take(self, path: str, body: bytes) -> None:
        self.paths.add(path)
        self.raw.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    self.spans.append(
                        Told(
                            span.name,
                            span.trace_id.hex(),
                            span.span_id.hex(),
                            span.parent_span_id.hex(),
                            about["service.name"],
                            span.status.code == Status.STATUS_CODE_ERROR,
                            {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
                        )
                    )

    def of(self, name: str, trace: str | None = None) -> list[Told]:
        """The spans of that name, in any trace or in one."""
        return [span for span in self.spans if span.name == name and trace in (None, span.trace)]

    def lineage(self, span: Told) -> list[str]:
        """Names from the first of its trace down to the span itself; "?" for a parent that was never told of."""
        names = [span.name]
        while span.parent:
            above = [each for each in self.spans if each.id == span.parent]
            if not above:
                return ["?", *names]
            span = above[0]
            names.insert(0, span.name)
        return names

    def wait_for(self, there: Callable[[], Sequence[object]], seconds: float = 30.0) -> None:
        give_up = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < give_up, sorted({span.name for span in self.spans})
            time.sleep(0.05)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A running collector."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.path, self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector = Collector(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
