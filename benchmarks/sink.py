"""An SMTP server that counts messages and throws them away, in a process of its own: ``python -m benchmarks.sink``.

Speaks PIPELINING, so that neither side waits for the other. Prints its port, then, on SIGTERM, one JSON line with what
it received: how many messages, how many bytes, how many distinct recipients, and how many came twice.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections import Counter


class Sink:
    def __init__(self) -> None:
        self.recipients: Counter[bytes] = Counter()
        self.bytes = 0

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 sink ESMTP\r\n")
        recipient = b""
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb in (b"EHLO", b"HELO"):
                    writer.write(b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n")
                elif verb == b"RCPT":
                    recipient = line.partition(b"<")[2].partition(b">")[0]
                    writer.write(b"250 2.1.5 Ok\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 Go on\r\n")
                    await writer.drain()
                    content = await reader.readuntil(b"\r\n.\r\n")
                    self.bytes += len(content)
                    self.recipients[recipient] += 1
                    writer.write(b"250 2.0.0 Taken\r\n")
                elif verb == b"QUIT":
                    writer.write(b"221 2.0.0 Bye\r\n")
                    break
                else:
                    writer.write(b"250 2.0.0 Ok\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def report(self) -> dict[str, int]:
        return {
            "messages": self.recipients.total(),
            "recipients": len(self.recipients),
            "twice": sum(count > 1 for count in self.recipients.values()),
            "bytes": self.bytes,
        }


async def main() -> None:
    sink = Sink()
    server = await asyncio.start_server(sink.converse, "127.0.0.1", 0, limit=4_000_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    json.dump(sink.report(), sys.stdout)


if __name__ == "__main__":
    asyncio.run(main())
