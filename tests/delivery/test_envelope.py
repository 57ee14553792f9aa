"""Content as it goes over the wire."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from service.delivery.envelope import stuffed

PIECES = st.sampled_from([b"\r\n", b"\r", b"\n", b".", b"x", b"\r\n.", b"\n.\r\n", b"\xff"])


@given(st.lists(PIECES, max_size=12).map(b"".join))
def test_any_content_arrives_whole_and_ends_where_it_ends(content: bytes) -> None:
    wire = stuffed(content)
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", wire), "a bare line end could be taken for the end of the message"
    assert wire.endswith(b".\r\n")
    lines = wire.split(b"\r\n")
    assert lines.index(b".") == len(lines) - 2, "only the last line is a lone dot"
    received = b"\r\n".join(line.removeprefix(b".") for line in lines[:-2])
    expected = re.sub(rb"\r\n|\r|\n", b"\r\n", content)
    assert received == expected.removesuffix(b"\r\n")


@given(st.lists(st.sampled_from([b"\r\n", b"x", b".", b"\r\n."]), max_size=12).map(b"".join))
def test_content_that_is_as_it_should_be_is_only_stuffed(content: bytes) -> None:
    assert stuffed(content) == (
        re.sub(rb"(?m)^\.", b"..", content) + (b".\r\n" if content.endswith(b"\n") or not content else b"\r\n.\r\n")
    )
