"""Signatures, as other programs see them."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path

import dkim as dkimpy
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from service.delivery import dkim
from service.delivery.dkim import DkimError, Record, Signer, SigningKey
from service.settings import Settings
from tests.delivery import opendkim

MESSAGE = (
    b"From: Paperround <digest@papers.example>\r\n"
    b"To: ada@example.org\r\n"
    b"Subject: Speculative decoding,\r\n RLHF and 6 more\r\n"
    b"Date: Tue, 24 Nov 2026 07:00:00 +0000\r\n"
    b"Message-ID: <abc@papers.example>\r\n"
    b"List-Id: <digest.papers.example>\r\n"
    b"List-Unsubscribe: <https://papers.example/unsubscribe/x>\r\n"
    b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    b"Feedback-ID: digest:list:paperround:abcdef012345\r\n"
    b"Auto-Submitted: auto-generated\r\n"
    b"MIME-Version: 1.0\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n"
    b"\r\n"
    b"One paper.\r\n\r\n.dot  \r\n\r\n"
)


@pytest.fixture(scope="session")
def rsa_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dkim") / "rsa.pem"
    dkim.make_key(path)
    return path


@pytest.fixture(scope="session")
def ed25519_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("dkim") / "ed25519.pem"
    dkim.make_key(path, ed25519=True)
    return path


@pytest.fixture
def signed_settings(settings: Settings, rsa_file: Path) -> Settings:
    return settings.model_copy(update={"sender": "Paperround <digest@papers.example>", "dkim_key_file": rsa_file})


@pytest.fixture
def signer(signed_settings: Settings, ed25519_file: Path) -> Signer:
    found = dkim.configured(signed_settings.model_copy(update={"dkim_second_key_file": ed25519_file}))
    assert found is not None
    return found


def verified(content: bytes, signer: Signer, index: int = 0) -> bool:
    """What dkimpy thinks of the signature at ``index``."""
    published = {f"{record.name}.".encode(): record.value.encode() for record in signer.records}

    def txt(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001 (dkimpy's interface)
        return published.get(name)

    try:
        return bool(dkimpy.DKIM(content).verify(index, dnsfunc=txt))
    except dkimpy.ValidationError:
        return False


def test_both_signatures_hold(signer: Signer) -> None:
    content = signer.signed(MESSAGE)
    assert content.endswith(MESSAGE)
    assert verified(content, signer, 0)
    assert verified(content, signer, 1)
    assert max(map(len, content[: content.index(b"From:")].split(b"\r\n"))) <= 78


def test_a_signature_covers_what_mailboxes_ask_for_and_never_a_length(signer: Signer) -> None:
    field = message_from_bytes(signer.signed(MESSAGE))["DKIM-Signature"]
    tags = dict(tag.strip().partition("=")[::2] for tag in "".join(field.split()).split(";"))
    names = tags["h"].split(":")
    assert names.count("from") == 2
    assert {
        "to", "subject", "date", "message-id", "mime-version", "content-type", "list-id", "list-unsubscribe",
        "list-unsubscribe-post", "feedback-id", "auto-submitted",
    } <= set(names)  # fmt: skip
    assert tags["d"] == "papers.example"
    assert "l" not in tags


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        (b"One paper.", b"Two paper."),
        (b"ada@example.org", b"eve@example.org"),
        (b"/unsubscribe/x", b"/unsubscribe/y"),
        (b"From:", b"From: Mallory <m@bad.example>\r\nFrom:"),
        (b"Subject:", b"Subject: Another\r\nSubject:"),
        (b".dot  \r\n", b".dot  \r\nand more\r\n"),
    ],
)
def test_a_changed_message_does_not_verify(signer: Signer, part: bytes, instead: bytes) -> None:
    content = signer.signed(MESSAGE)
    assert not verified(content.replace(part, instead, 1), signer, 0)
    assert not verified(content.replace(part, instead, 1), signer, 1)


def test_one_flipped_bit_anywhere_in_the_body_breaks_it(signer: Signer) -> None:
    content = signer.signed(MESSAGE)
    start = content.index(b"\r\n\r\n") + 4
    for place in range(start, len(content) - len(b"\r\n\r\n")):
        changed = bytearray(content)
        changed[place] ^= 1
        assert not verified(bytes(changed), signer), place


def test_a_way_that_refolds_headers_leaves_it_whole(signer: Signer) -> None:
    content = signer.signed(MESSAGE)
    refolded = content.replace(b"Subject: Speculative decoding,\r\n RLHF", b"SUBJECT:  Speculative  decoding,\tRLHF")
    assert refolded != content
    assert verified(refolded, signer)


@examples(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b"", b" ", b"x", b".", b"a b\tc "]), max_size=6),
    st.sampled_from([b"", b"\r\n", b"\r\n\r\n\r\n"]),
    st.lists(st.sampled_from([b"X-A: b", b"To:  a@b.example", b"to: c@d.example", b"Cc:\r\n\te"]), max_size=4),
)
def test_any_shape_of_message_verifies(rsa: Signer, lines: list[bytes], end: bytes, extra: list[bytes]) -> None:
    head = b"\r\n".join([b"From: p@papers.example", *extra])
    assert verified(rsa.signed(head + b"\r\n\r\n" + b"\r\n".join(lines) + end), rsa)


@pytest.fixture(scope="session")
def rsa(rsa_file: Path) -> Signer:
    return Signer("papers.example", [SigningKey("s", dkim.read_key(rsa_file, "the key"))])


def test_opendkim_agrees(rsa: Signer, tmp_path: Path) -> None:
    content = rsa.signed(MESSAGE)
    assert opendkim.complaint(content, rsa.records, tmp_path) is None
    assert opendkim.complaint(content.replace(b"One paper", b"Two paper"), rsa.records, tmp_path) is not None


def test_a_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "dkim.pem"
    dkim.make_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_bytes()
    with pytest.raises(DkimError, match="exists already"):
        dkim.make_key(path)
    assert path.read_bytes() == before


def test_a_record_fits_a_zone_file(rsa: Signer) -> None:
    (record,) = rsa.records
    assert record.name == "s._domainkey.papers.example"
    strings = record.zone_line.split('"')[1::2]
    assert "".join(strings) == record.value
    assert max(map(len, strings)) <= 255
    assert Record("s._domainkey.a", "v=DKIM1").zone_line == 's._domainkey.a. IN TXT ( "v=DKIM1" )'


def test_without_a_key_nothing_is_signed(settings: Settings) -> None:
    assert dkim.configured(settings) is None


def test_a_key_in_the_environment(signed_settings: Settings, rsa_file: Path) -> None:
    line = rsa_file.read_text().replace("\n", "\\n")
    loaded = Settings(home=signed_settings.home, dkim_key=line, sender="P <p@papers.example>")  # type: ignore[arg-type]
    found = dkim.configured(loaded)
    assert found is not None
    assert verified(found.signed(MESSAGE), found)
    assert "PRIVATE" not in repr(loaded)
    assert "PRIVATE" not in repr(found.keys)


@pytest.mark.parametrize(
    ("domain", "signs"),
    [
        ("papers.example", "papers.example"),
        ("", "papers.example"),
        ("mail.papers.example", "mail.papers.example"),
        ("PAPERS.example", "papers.example"),
    ],
)
def test_the_domain_is_in_line_with_the_from(signed_settings: Settings, domain: str, signs: str) -> None:
    assert dkim.signing_domain(signed_settings.model_copy(update={"dkim_domain": domain})) == signs


@pytest.mark.parametrize(
    ("changes", "remedy"),
    [
        ({"dkim_domain": "other.example"}, "in line with PAPERROUND_FROM"),
        ({"dkim_domain": "apers.example"}, "in line with PAPERROUND_FROM"),
        ({"dkim_key_file": Path("/nowhere.pem")}, "cannot be read"),
        ({"dkim_key_file": Path(__file__)}, "no usable private key"),
        ({"dkim_selector": "a b"}, "PAPERROUND_DKIM_SELECTOR must be"),
    ],
)
def test_settings_that_cannot_sign_name_the_remedy(
    signed_settings: Settings, changes: dict[str, object], remedy: str
) -> None:
    with pytest.raises(DkimError, match=remedy) as caught:
        dkim.configured(signed_settings.model_copy(update=changes))
    assert "\n" not in str(caught.value)


def test_ed25519_never_stands_alone(signed_settings: Settings, ed25519_file: Path) -> None:
    for changes, remedy in (
        ({"dkim_key_file": ed25519_file}, "first DKIM key must be RSA"),
        ({"dkim_key_file": None, "dkim_second_key_file": ed25519_file}, "cannot stand alone"),
        ({"dkim_second_key_file": ed25519_file, "dkim_second_selector": "paperround"}, "must differ"),
    ):
        with pytest.raises(DkimError, match=remedy):
            dkim.configured(signed_settings.model_copy(update=changes))
