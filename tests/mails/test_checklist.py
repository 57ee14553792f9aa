"""What every mail owes, whatever its kind and language: RFC 2045, 5322, 6376, 8058, and a reader's eyes."""

from __future__ import annotations

import re
from email.utils import parseaddr
from itertools import pairwise

import dkim as dkimpy
import pytest

from service import translation
from service.database.tables import DeliveryKind
from service.mails.letterhead import SITE_NAME
from service.outbox import rows
from service.subscribers.return_addresses import AddressPurpose, SignedAddress
from service.translation import ENGLISH, gettext
from tests.mails.conftest import LISTED, POSTAL, Made, Post

_RESIDUE = re.compile(r"\{\{|\}\}|\{%|%\}|\{#|jnj\d{4}x|\\u\{|%\(\w+\)s|[\x02\x03]")
_ADDRESS = re.compile(r"https?://[^\s<>\"]+")


@pytest.fixture
def mails(post: Post) -> tuple[Made, ...]:
    return post.mails


def test_the_mime_is_strict(mails: tuple[Made, ...]) -> None:
    for made in mails:
        raw = made.content
        assert b"\r" not in raw.replace(b"\r\n", b""), made.name
        assert b"\n" not in raw.replace(b"\r\n", b""), made.name
        head, _, body = raw.partition(b"\r\n\r\n")
        assert head.isascii() and raw.isascii(), made.name  # noqa: PT018 (the second names the first)
        assert max(map(len, raw.split(b"\r\n"))) <= 998, made.name
        assert max(len(line) for line in body.split(b"\r\n")) <= 76, made.name
        assert b"\x00" not in raw
        mail = made.mail
        assert [part.defects for part in mail.walk()] == [[], [], []], made.name
        assert mail.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]
        for part in mail.iter_parts():
            assert part["Content-Transfer-Encoding"] == "quoted-printable"
            assert part.get_content_charset() == "utf-8"


def test_one_click_unsubscribe_where_it_belongs_and_nowhere_else(mails: tuple[Made, ...]) -> None:
    for made in mails:
        mail = made.mail
        if made.kind not in LISTED:
            assert mail["List-Unsubscribe"] is None, made.name
            assert mail["List-Unsubscribe-Post"] is None, made.name
            continue
        uris = re.findall(r"<([^>]+)>", mail["List-Unsubscribe"])
        assert uris[0].startswith("https://")
        assert all(uri.startswith("mailto:") for uri in uris[1:]), "one https URI (RFC 8058, 3.1)"
        assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
        # The token's first part names the reader; the rest is when it was signed.
        way_out = uris[0].partition(".example/")[2].partition(".")[0]
        assert any(f".example/{way_out}." in str(each) for each in made.tree.xpath("//a/@href")), made.name


def test_the_headers_name_list_sender_and_stream(mails: tuple[Made, ...]) -> None:
    for made in mails:
        mail = made.mail
        assert re.fullmatch(r"<[\w.-]+\.papers\.example>", mail["List-Id"])
        assert re.fullmatch(r"[^:]+:[^:]+:[^:]+:\w{5,15}", mail["Feedback-ID"]), made.name
        assert mail["Auto-Submitted"] == "auto-generated"
        assert mail["Date"].datetime.tzinfo is not None
        assert parseaddr(mail["From"])[1] == "digest@papers.example"
    assert len({made.mail["Message-ID"] for made in mails}) == len(mails)
    many = rows.message_ids("papers.example", 10_000)
    assert len(set(many.tolist())) == len(many)


def test_what_comes_back_names_the_delivery_and_nobody_can_make_that_up(post: Post) -> None:
    for made in post.mails:
        signed = SignedAddress(AddressPurpose.BOUNCE, made.delivery_id)
        assert post.returns.read(made.envelope_sender) == signed, made.name
        assert made.envelope_sender.endswith("@returns.papers.example")
        (recipient,) = made.mail["To"].addresses
        assert recipient.addr_spec not in made.envelope_sender
        # Aligned by DKIM, whatever the envelope: RFC 7489, 3.1.
        assert made.mail["From"].addresses[0].domain == "papers.example"
    english = [made for made in post.mails if made.language is ENGLISH]
    assert len({made.envelope_sender for made in english}) == len(english) > 1


def test_the_signature_holds_and_covers_what_mailboxes_ask_for(post: Post) -> None:
    published = {f"{record.name}.".encode(): record.value.encode() for record in post.signer.records}

    def txt(name: bytes, timeout: int = 5) -> bytes | None:  # noqa: ARG001 (dkimpy's interface)
        return published.get(name)

    for made in post.mails:
        assert dkimpy.DKIM(made.content).verify(dnsfunc=txt), made.name
        (signature,) = made.mail.get_all("DKIM-Signature", [])
        tags = dict(tag.strip().partition("=")[::2] for tag in "".join(str(signature).split()).split(";"))
        covered = tags["h"].split(":")
        assert covered.count("from") == 2, "a second From would break the signature"
        wanted = {"to", "subject", "date", "message-id", "mime-version", "content-type", "list-id", "feedback-id"}
        wanted |= {"list-unsubscribe", "list-unsubscribe-post"} if made.kind in LISTED else set()
        assert wanted <= set(covered), made.name
        assert "l" not in tags
        assert tags["d"] == "papers.example"


def test_the_text_part_says_what_the_page_says(mails: tuple[Made, ...]) -> None:
    for made in mails:
        links = {str(each) for each in made.tree.xpath("//a/@href")}
        assert links, made.name
        written = set(_ADDRESS.findall(made.text))
        assert links <= written, (made.name, links - written)
        said = " ".join(made.text.split())
        headings = [" ".join(each.text_content().split()) for each in made.tree.xpath("//h1|//h2")]
        assert headings
        for heading in headings:
            assert heading in said, (made.name, heading)
        # A word that is longer than a line stays whole.
        lines = [line for line in made.text.splitlines() if " " in line.strip() and not _ADDRESS.search(line)]
        assert max(map(len, lines)) <= 78, made.name


def test_nothing_of_the_templates_is_left(mails: tuple[Made, ...]) -> None:
    for made in mails:
        for body in (made.page, made.text, str(made.mail["Subject"])):
            assert not _RESIDUE.search(body), (made.name, _RESIDUE.search(body))


def test_a_mail_is_small(mails: tuple[Made, ...]) -> None:
    for made in mails:
        assert len(made.page.encode()) < 40_000, made.name


def test_the_page_can_be_read_aloud(mails: tuple[Made, ...]) -> None:
    for made in mails:
        tree = made.tree
        assert (tree.get("lang"), tree.get("dir")) == (made.language.tag, made.language.direction), made.name
        assert tree.xpath("string(//title)").strip() == str(made.mail["Subject"]) or made.kind is DeliveryKind.DIGEST
        assert tree.xpath("string(//title)").strip(), made.name
        assert tree.xpath("//img[not(@alt)]") == []
        assert tree.xpath("//table[not(@role='presentation')]") == []
        levels = [int(each.tag[1]) for each in tree.xpath("//h1|//h2|//h3|//h4")]
        assert levels[0] == 1 and levels.count(1) == 1, made.name  # noqa: PT018
        assert all(after - before <= 1 for before, after in pairwise(levels))
        named: dict[str, set[str]] = {}
        for link in tree.xpath("//a"):
            name = str(link.get("aria-label") or link.text_content()).strip()
            assert name, made.name
            named.setdefault(name, set()).add(str(link.get("href")))
        assert [name for name, urls in named.items() if len(urls) > 1] == [], "one name, one place"


def test_the_preheader_comes_first_and_has_the_right_length(mails: tuple[Made, ...]) -> None:
    for made in mails:
        body = made.tree.xpath("//body")[0]
        (hidden,) = body.xpath(".//div[contains(@style, 'display:none')]")
        preheader = " ".join(hidden.text_content().split())
        # A Chinese character says as much as two or three letters.
        least = 18 if made.language.tag == "zh-Hans" else 40
        assert least <= len(preheader) <= 130, (made.name, preheader)
        assert " ".join(body.text_content().split()).startswith(preheader)
        assert "#fff" not in str(hidden.get("style")).lower(), "white hidden text is what spam does"


def test_dark_mode_is_declared(mails: tuple[Made, ...]) -> None:
    for made in mails:
        assert made.tree.xpath("//meta[@name='color-scheme' and contains(@content, 'dark')]"), made.name
        assert "prefers-color-scheme: dark" in made.page


def test_links_are_plain_and_https(mails: tuple[Made, ...]) -> None:
    for made in mails:
        for url in _ADDRESS.findall(made.text) + [str(each) for each in made.tree.xpath("//@href")]:
            assert url.startswith("https://"), (made.name, url)
            host = url.split("/")[2]
            assert not re.fullmatch(r"[\d.:\[\]]+", host), "no bare addresses"
            assert host in {"papers.example", "example.org", "arxiv.org"}, "no shorteners, no trackers"
        assert not made.tree.xpath("//img|//script|//link|//iframe|//form"), "nothing is fetched when a mail is opened"


def test_the_footer_says_why_and_from_where_and_the_way_out(mails: tuple[Made, ...]) -> None:
    for made in mails:
        assert POSTAL in made.text, made.name
        assert POSTAL in made.tree.text_content()
        if made.kind in LISTED:
            with translation.speaking(made.language):
                why = gettext("You get this mail because you subscribed to %(site)s with this address.", site=SITE_NAME)
            assert why in " ".join(made.tree.text_content().split()), made.name
            assert "".join(why.split()) in "".join(made.text.split()), made.name
            visible = [str(each) for each in made.tree.xpath("//a/@href")]
            assert any("/unsubscribe/" in each for each in visible)
            assert any("/preferences/" in each for each in visible)


def test_lines_begin_where_the_language_begins(mails: tuple[Made, ...]) -> None:
    for made in mails:
        assert set(re.findall(r"direction:(\w+)", made.page)) == {made.language.direction}, made.name
        aligned = [
            str(each.get("style")) for each in made.tree.xpath("//h1/parent::div|//p/parent::div|//h2/parent::div")
        ]
        around = [each for each in aligned if "text-align" in each]
        assert around
        assert all(f"text-align:{made.language.start}" in each for each in around), made.name


def test_each_language_says_it_in_its_own_words(post: Post) -> None:
    # Operators are written to in English.
    for kind in {made.kind for made in post.mails} - {DeliveryKind.OPERATOR_LINK}:
        said = {
            made.language.tag: made.tree.xpath("string(//h1)")
            for made in post.mails
            if made.kind is kind and not made.weekly
        }
        assert len(set(said.values())) == len(said), (kind, said)
