"""A TCP proxy that makes a near server far: ``python -m benchmarks.delay PORT SECONDS``, in a process of its own.

Every byte arrives SECONDS later, in both directions, in order, at any speed. Prints its port.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque


class End(asyncio.Protocol):
    """One side of a proxied connection."""

    def __init__(self, seconds: float, other: End | None = None) -> None:
        self._seconds = seconds
        self.other = other
        self.transport: asyncio.Transport | None = None
        self._on_the_way: deque[bytes] = deque()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._on_the_way.append(data)
        self._loop.call_later(self._seconds, self._arrive)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._on_the_way.append(b"")
        self._loop.call_later(self._seconds, self._arrive)

    def _arrive(self) -> None:
        data = self._on_the_way.popleft()
        if self.other is None or self.other.transport is None:
            if data:
                self._on_the_way.appendleft(data)
                self._loop.call_later(0.001, self._arrive)
        elif data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class Near(End):
    """The client's side, which opens the other."""

    def __init__(self, port: int, seconds: float) -> None:
        super().__init__(seconds)
        self._port = port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._opening = self._loop.create_task(self._open())

    async def _open(self) -> None:
        _, far = await self._loop.create_connection(lambda: End(self._seconds, self), "127.0.0.1", self._port)
        self.other = far


async def main() -> None:
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    server = await asyncio.get_running_loop().create_server(lambda: Near(port, seconds), "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
