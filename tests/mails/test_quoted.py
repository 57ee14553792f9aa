from __future__ import annotations

import quopri

from hypothesis import given, settings
from hypothesis import strategies as st

from service.mails.quoted import encoded

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=200) | st.text(
    alphabet="ab=.... \t\n\ré中😀", max_size=300
)


@settings(max_examples=500, deadline=None)
@given(st.lists(TEXT, max_size=8))
def test_joined_fragments_decode_to_the_joined_text_in_lines_of_76(parts: list[str]) -> None:
    joined = b"".join(encoded(part) for part in parts)
    expected = "".join(parts[n].replace("\r\n", "\n").replace("\r", "\n") for n in range(len(parts)))
    assert quopri.decodestring(joined).decode().replace("\r\n", "\n") == expected
    lines = joined.split(b"\r\n")
    assert max(map(len, lines)) <= 76
    assert not any(line.startswith(b".") for line in lines), "nothing for SMTP to stuff"
    assert all(b"\n" not in line and b"\r" not in line for line in lines)
    assert not any(line.endswith((b" ", b"\t")) for line in lines)
    assert joined == b"" or joined.endswith(b"\r\n"), "a fragment ends at the beginning of a line"
