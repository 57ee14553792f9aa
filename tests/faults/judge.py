"""The judge: an SMTP server that takes everything, a little slowly, and knows what it took and what was heard of that.

Its own log decides: a reader it never took mail for is lost, one it took two for has a duplicate. A duplicate is
excused only where our side cannot have known: the answer to the first was still on the wire when the connection ended.
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

_MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^>]*)>", re.IGNORECASE | re.MULTILINE)


@dataclass
class Judge:
    """What was taken since the last :meth:`forget`."""

    slowest: float = 0.02
    """Seconds that an answer takes at most."""
    port: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    """Messages by recipient."""
    ids: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Message-IDs by recipient, in the order in which they came."""
    unheard: Counter[str] = field(default_factory=Counter)
    """Message-IDs whose answer was given to a connection that ended without another word from the other side."""

    def forget(self) -> None:
        self.taken.clear()
        self.ids.clear()
        self.unheard.clear()

    @property
    def repeated(self) -> Counter[str]:
        """Message-IDs of the duplicates, and how often each came too often."""
        return Counter(each for ids in self.ids.values() for each in ids[1:])

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answered: str | None = None
        writer.write(b"220 judge ESMTP\r\n")
        recipient = ""
        try:
            while line := await reader.readline():
                verb = line[:4].upper()
                if verb in (b"EHLO", b"HELO"):
                    writer.write(b"250-judge\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                elif verb == b"RCPT":
                    recipient = line.partition(b"<")[2].partition(b">")[0].decode()
                    writer.write(b"250 2.1.5 Ok\r\n")
                elif verb == b"DATA":
                    writer.write(b"354 Go on\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    # Whoever sends the next content has read the answer to the one before.
                    answered = None
                    match = _MESSAGE_ID.search(content)
                    assert match is not None
                    message_id = match[1].decode()
                    self.taken[recipient] += 1
                    self.ids[recipient].append(message_id)
                    answered = message_id
                    await asyncio.sleep(random.uniform(0, self.slowest))
                    writer.write(b"250 2.0.0 Taken\r\n")
                elif verb == b"QUIT":
                    answered = None
                    writer.write(b"221 2.0.0 Bye\r\n")
                    break
                else:
                    writer.write(b"250 2.0.0 Ok\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            if answered is not None:
                self.unheard[answered] += 1
            writer.transport.abort()


@contextmanager
def judging(slowest: float = 0.02) -> Iterator[Judge]:
    """A judge at work in a thread."""
    judge, ready = Judge(slowest), threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        server = await asyncio.start_server(judge.converse, "127.0.0.1", 0, limit=2**22)
        judge.port = server.sockets[0].getsockname()[1]
        ready.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(5)
    try:
        yield judge
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
