"""An SMTP server that counts messages and throws them away, in a process of its own: ``python -m benchmarks.sink``.

Speaks PIPELINING, so that neither side waits for the other, and does as little as can be done while every message is
still counted under its recipient. Prints its port, then, on SIGTERM, one JSON line with what it received: how many
messages, how many bytes, how many distinct recipients, and how many came twice.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter

_HELLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
_ANSWERS = {b"EHLO": _HELLO, b"HELO": _HELLO, b"RCPT": b"250 2.1.5 Ok\r\n", b"DATA": b"354 Go on\r\n",
            b"QUIT": b"221 2.0.0 Bye\r\n"}  # fmt: skip
_END = b"\r\n.\r\n"
_ROOM = 4 * 1024 * 1024


class Sink:
    """What all connections have received."""

    def __init__(self) -> None:
        self.recipients: Counter[bytes] = Counter()
        self.bytes = 0

    def report(self) -> dict[str, int]:
        return {
            "messages": self.recipients.total(),
            "recipients": len(self.recipients),
            "twice": sum(count > 1 for count in self.recipients.values()),
            "bytes": self.bytes,
        }


class Conversation(asyncio.BufferedProtocol):
    """One connection: commands line by line, content by its end. What is received lies in one buffer all along."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._buffer = bytearray(_ROOM)
        self._view = memoryview(self._buffer)
        self._begin = self._end = 0
        """Between them lies what is not dealt with."""
        self._looked = 0
        """Up to here no end of content begins."""
        self._in_content = False
        self._recipient = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 sink ESMTP\r\n")

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 (asyncio's signature)
        if self._begin and _ROOM - self._end < _ROOM // 4:
            self._view[: self._end - self._begin] = bytes(self._view[self._begin : self._end])
            self._looked -= self._begin
            self._begin, self._end = 0, self._end - self._begin
        return self._view[self._end :]

    def buffer_updated(self, nbytes: int) -> None:
        self._end += nbytes
        answers = b""
        while (step := self._content() if self._in_content else self._command()) is not None:
            answers += step
        if self._begin == self._end:
            self._begin = self._end = self._looked = 0
        assert self._end < _ROOM, "a message larger than the sink's buffer"
        if answers:
            self._transport.write(answers)
            if answers.endswith(_ANSWERS[b"QUIT"]):
                self._transport.close()

    def _content(self) -> bytes | None:
        end = self._buffer.find(_END, max(self._looked, self._begin), self._end)
        if end < 0:
            self._looked = max(self._begin, self._end - len(_END) + 1)
            return None
        self._sink.bytes += end - self._begin
        self._sink.recipients[self._recipient] += 1
        self._begin = end + len(_END)
        self._in_content = False
        return b"250 2.0.0 Taken\r\n"

    def _command(self) -> bytes | None:
        end = self._buffer.find(b"\n", self._begin, self._end)
        if end < 0:
            return None
        line = bytes(self._view[self._begin : end])
        self._begin = end + 1
        verb = line[:4].upper()
        if verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0]
        self._in_content = verb == b"DATA"
        self._looked = self._begin
        return _ANSWERS.get(verb, b"250 2.0.0 Ok\r\n")


async def main() -> None:
    sink = Sink()
    server = await asyncio.get_running_loop().create_server(lambda: Conversation(sink), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    json.dump(sink.report(), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
