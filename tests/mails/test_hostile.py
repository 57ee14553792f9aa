"""Whatever papers, readers and queries say arrives as what it is: words. Through the whole composition."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Final

import pytest
from hypothesis import Phase, given
from hypothesis import settings as with_settings
from hypothesis import strategies as st
from lxml import html
from pydantic import SecretStr

from service.database.tables import DeliveryKind, Reader
from service.mails.addressee import addressee
from service.mails.compose import Composed, Composer
from service.mails.material import Draft, Material
from service.matching import language
from service.matching.language import QueryError
from service.outbox.claims import Claim
from service.papers import text as papers_text
from service.papers.archive import PaperView
from service.settings import Settings
from service.subscribers import addresses, interests
from service.subscribers.addresses import AddressError
from service.translation import LANGUAGES

SLOT: Final = datetime(2026, 11, 24, 7, tzinfo=UTC)
SETTINGS: Final = Settings(
    secret=SecretStr("a-secret-that-only-the-tests-know-0123456789"),
    database_url="postgresql://nowhere/none",
    site_url="https://papers.example",
    sender="Paperround <digest@papers.example>",
    smtp_url="smtp://127.0.0.1:9",
    postal_address="1 Example Street, Exampletown",
)

_PIECES: Final = (
    "robots", "<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</h2></td></table>", "<!--", "-->",
    "<![endif]-->", "<!--[if mso]>", "]]>", "&lt;b&gt;", "&amp;amp;", "&#x3c;i&#x3e;", "&", "'", '"', "\\", "\\n",
    "{{ 7 * 7 }}", "{% for x in y %}", "{# no #}", "<mj-raw>", "</mj-text>", "jnj0001x", "%(site)s", "%s", "100%",
    "\u202emoc.live", "\u2066", "\u200b", "\u00ad", "\x00", "\x02reason\x03", "\x02feedback\x03", "\x1b[31m", "\x7f",
    "\r\nBcc: eve@evil.example", "\nSubject: another", "\r", "\u2028", "=?utf-8?q?=0D=0ABcc:x?=", "=\r\n", "=3D", ".",
    "..", "\r\n.\r\n", "--=_paperround_part--", "From ", "عربي", "论文摘要", "é", "e\u0301", "👩‍🔬", "\U0001d400",
    "W" * 300, "https://evil.example/" + "a" * 120, "javascript:alert(1)", " ", ", ", "(", ")", "*", "$x^2$",
    "\\href{a}{b}",
)  # fmt: skip
hostile: Final = st.lists(
    st.one_of(st.sampled_from(_PIECES), st.text(st.characters(exclude_categories=["Cs"]), max_size=12)), max_size=7
).map("".join)
read: Final = hostile.map(papers_text.plain)
"""As sources give it, taken in."""


@st.composite
def papers(draw: st.DrawFn) -> PaperView:
    authors = tuple(filter(None, draw(st.lists(read, max_size=4))))
    return PaperView(
        id=draw(st.integers(1, 2**40)), title=draw(st.one_of(read, read.map("robots {}".format))) or "A title",
        abstract=draw(read), tldr=draw(read) or None,
        authors=authors, author_count=len(authors) + draw(st.integers(0, 3)), organization=draw(read) or None,
        categories=("cs.CL",), keywords=(), published_on=date(2026, 1, 2), listed_on=date(2026, 1, 2), featured_on=None,
        upvotes=3, comments=None, url="https://example.org/a?b=c&d=%22", pdf_url=None, code_url=None, project_url=None,
        withdrawn=draw(st.booleans()), edition_id=1,
    )  # fmt: skip


@st.composite
def wishes(draw: st.DrawFn) -> tuple[str, language.Expression]:
    """A query as a reader may store it, and what it means."""
    typed = draw(st.one_of(hostile, hostile.map(lambda each: f'robots "{each}"')))
    try:
        wish = interests.from_queries([typed])[0]
    except (QueryError, IndexError):
        wish = interests.from_queries(["robots"])[0]
    return wish.label, language.parse(wish.query_text)


@st.composite
def recipients(draw: st.DrawFn) -> str:
    """An address that is let in."""
    local = draw(st.one_of(hostile, st.text("abc.+!#$%&'*/=?^_`{|}~-<>\"\r\n ,:;@()\\", max_size=30)))
    try:
        return addresses.parse(f"{local}@example.org").email
    except AddressError:
        return "ada@example.org"


class Strict(HTMLParser):
    """Every element is closed, in order; names of elements are counted, words are kept."""

    VOID: Final = frozenset({"br", "hr", "img", "meta"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.elements: Counter[tuple[str, tuple[str, ...]]] = Counter()
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag, tuple(name for name, _ in attrs)] += 1
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def composed(
    reader: Reader, shown: list[PaperView], label: str, meant: language.Expression
) -> tuple[EmailMessage, bytes]:
    """A digest, read as strictly as the wire wants it."""
    composer = Composer(SETTINGS)
    claim = Claim(1, DeliveryKind.DIGEST, reader.id, 1, "fixed@papers.example", 0, None)
    places = range(len(shown))
    draft = Draft(SLOT, [paper.id for paper in shown], list(places), [1 for _ in places], matched=len(shown) + 2,
                  digest_id=1)  # fmt: skip
    papers = {each.id: each for each in shown}
    material = Material({}, {}, {(reader.id, 1): label}, papers, {1: meant})
    made = composer.digest(claim, addressee(reader), draft, material, SLOT)
    assert isinstance(made, Composed)
    raw = made.content
    rest = raw.replace(b"\r\n", b"")
    assert b"\r" not in rest and b"\n" not in rest and b"\x00" not in rest  # noqa: PT018 (one thing: line ends)
    head, _, body = raw.partition(b"\r\n\r\n")
    assert max(map(len, head.split(b"\r\n"))) <= 998
    assert max(map(len, body.split(b"\r\n"))) <= 76
    assert body.isascii()
    assert head.isascii() or not reader.email.isascii()
    mail = message_from_bytes(raw, policy=policy.default)
    assert [part.defects for part in mail.walk()] == [[], [], []]
    return mail, raw


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def squeezed(words: str) -> str:
    """Without white space: lines are broken as each part likes."""
    return "".join(words.split())


def new_reader(email: str, tag: str) -> Reader:
    return Reader(id=7, email=email, timezone="UTC", language=tag, cadence="daily", abstracts="short", plain_text=False)


_HEADERS: Final = sorted(
    "From To Subject Date Message-ID List-Id Feedback-ID Auto-Submitted List-Unsubscribe List-Unsubscribe-Post"
    " MIME-Version Content-Type".split()
)


@pytest.fixture(scope="module")
def plain_elements() -> Counter[tuple[str, tuple[str, ...]]]:
    """What a mail of one tame paper is made of, everything in it once."""
    tame = PaperView(
        id=1, title="Trout", abstract="On fish.", tldr="Fish.", authors=("Ada",), author_count=1, organization=None,
        categories=("cs.CL",), keywords=(), published_on=date(2026, 1, 2), listed_on=date(2026, 1, 2), featured_on=None,
        upvotes=3, comments=None, url="https://example.org/a", pdf_url=None, code_url=None, project_url=None,
        withdrawn=False, edition_id=1,
    )  # fmt: skip
    mail, _ = composed(new_reader("ada@example.org", "en"), [tame], "robots", language.parse("robots"))
    return Strict(part(mail, "html")).elements


# Shrinking would compose a mail ten thousand times; what fails is shown as it was drawn.
@with_settings(max_examples=80, deadline=None, phases=[Phase.generate])
@given(papers(), wishes(), recipients(), st.sampled_from([each.tag for each in LANGUAGES]))
def test_nothing_hostile_becomes_more_than_words(
    plain_elements: Counter[tuple[str, tuple[str, ...]]], paper: PaperView, wish: tuple[str, language.Expression],
    email: str, tag: str,
) -> None:  # fmt: skip
    label, meant = wish
    mail, _ = composed(new_reader(email, tag), [paper], label, meant)
    page, text = part(mail, "html"), part(mail, "plain")

    # Headers: those that we wrote, each once, to the one who is meant.
    assert sorted(mail.keys()) == _HEADERS
    if email.isascii():
        assert [each.addr_spec for each in mail["To"].addresses] == [email]
    assert mail["Message-ID"] == "<fixed@papers.example>"
    assert "\n" not in mail["Subject"]

    # Elements: those of a tame paper. Words that matched are marked; what a paper lacks is left out.
    strict = Strict(page)
    strict.elements.pop(("mark", ()), None)
    assert strict.elements <= plain_elements
    assert plain_elements.total() - strict.elements.total() <= 4

    # Words: the same in both parts, and what the paper says.
    tree = html.fromstring(page)
    said = {squeezed(tree.text_content()), squeezed(text)}
    paragraphs = [each.text_content() for each in tree.xpath("//h2/following-sibling::p[not(@class)]")]
    # However much of an abstract fits into the mail, its beginning does.
    for words in (paper.title, *paper.authors[:2], paper.abstract[:30], (paper.tldr or "")[:30], *paragraphs):
        assert all(squeezed(words) in each for each in said), words
    shown = next(iter(tree.xpath("//h2"))).text_content()
    assert squeezed(paper.title) in squeezed(shown)
    assert all(squeezed(label) in each for each in said), label
    links = {str(each) for each in tree.xpath("//@href")}
    assert {each.split("/")[2] for each in links} <= {"papers.example", "example.org"}
    assert links <= set(re.findall(r"https://\S+", text))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page + text + mail["Subject"])
