"""The mails themselves: strict parts, nothing mixed up, nothing hostile let through."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from lxml import html
from sqlalchemy import delete, select

from service.database import Database
from service.database.tables import Delivery, DeliveryKind, Digest, Paper, Reader, ReaderState
from service.digests import plan
from service.mails import mjml
from service.mails.cards import shortened_at_sentence
from service.mails.compose import Composed, Composer, Withheld
from service.outbox import rows
from service.outbox.claims import Claim
from service.settings import Settings
from service.subscribers import accounts, addresses, interests, suppression
from service.subscribers.accounts import Preferences, Signup
from service.subscribers.consent import Visit
from service.subscribers.interests import Wish
from service.subscribers.tokens import Links, Purpose
from tests import factories

HOSTILE = "<script>alert('x')</script> \"quoted\" & {{ 7 * 7 }} {% if %} back\\slash jnj0001x 100%"


def claimed(database: Database) -> list[Claim]:
    return rows.claim(database, owner="test", limit=1_000, lease=timedelta(minutes=5))


def compose(database: Database, settings: Settings) -> list[Composed | Withheld]:
    claims = claimed(database)
    with database.transaction() as session:
        made = Composer(settings).compose(session, claims)
    assert [each.delivery_id for each in made] == [each.delivery_id for each in claims]
    return made


def mails(made: Sequence[Composed | Withheld]) -> list[EmailMessage]:
    parsed = []
    for each in made:
        assert isinstance(each, Composed), each
        assert max(map(len, each.content.split(b"\r\n"))) <= 998
        mail = message_from_bytes(each.content, policy=policy.default)
        assert [part.defects for part in mail.walk()] == [[], [], []]
        assert each.recipient in mail["To"]
        parsed.append(mail)
    return parsed


def part(mail: EmailMessage, kind: str) -> str:
    body = mail.get_body((kind,))
    assert body is not None
    return str(body.get_content())


def planned(database: Database, settings: Settings) -> None:
    plan.plan_due(database, settings, everyone=True)


def test_a_digest_has_both_parts_reasons_and_the_ways_out(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, "ada@example.org", topics=["robot-learning"], queries=['"learning robots"'])
    factories.edition(
        database,
        factories.record("Learning Robots", tldr="It walks.", upvotes=5, code_url="https://example.org/code",
                         abstract="About robot learning. " * 60),
        factories.record("Fish"),
    )  # fmt: skip
    planned(database, settings)
    (mail,) = mails(compose(database, settings))
    page, text = part(mail, "html"), part(mail, "plain")
    for body in (html.fromstring(page).text_content(), text):
        said = " ".join(body.split())
        assert "Learning Robots" in said
        assert "In short: It walks." in said
        assert "Because you follow" in said
        assert "Robot learning and manipulation" in said
        assert "1 Example Street" in said
        assert "Fish" not in said
    assert mail["Subject"] == "Learning Robots"
    assert "unsubscribe" in mail["List-Unsubscribe"]
    links = set(html.fromstring(page).xpath("//a/@href"))
    assert links <= set(re.split(r"\s+", text)), "every link of the page stands in the text too"
    assert all(link.startswith("https://") for link in links)


def test_everybody_gets_their_own_mail_and_nothing_of_another(database: Database, settings: Settings) -> None:
    words = [f"subject{n}word" for n in range(30)]
    for word in words:
        factories.reader(database, settings, f"{word}@example.org", queries=[word])
    factories.edition(database, *(factories.record(f"On {word}") for word in words))
    planned(database, settings)
    made = mails(compose(database, settings))
    assert len(made) == 30
    for mail in made:
        own = mail["To"].addresses[0].username
        for body in (part(mail, "html"), part(mail, "plain")):
            assert {word for word in words if re.search(rf"\b{word}\b", body)} == {own}
    assert len({mail["Message-ID"] for mail in made}) == 30
    assert len({mail["List-Unsubscribe"] for mail in made}) == 30


def test_hostile_text_arrives_as_text_and_nothing_of_the_templates_is_left(
    database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, queries=["hostile"])
    factories.edition(
        database,
        factories.record(
            f"Hostile {HOSTILE}", abstract=HOSTILE, tldr=HOSTILE, authors=(HOSTILE,), organization=HOSTILE
        ),
    )
    planned(database, settings)
    (mail,) = mails(compose(database, settings))
    page = part(mail, "html")
    tree = html.fromstring(page)
    assert tree.xpath("//script") == []
    assert HOSTILE in tree.text_content()
    assert HOSTILE in " ".join(part(mail, "plain").split())
    without = page.replace(str(tree.xpath("string(//title)")), "")
    ours = re.sub(r"\{\{ 7 \* 7 \}\}|\{% if %\}|jnj0001x", "", without)
    assert not re.search(r"\{\{|\{%|jnj\d{4}x|\\u\{", ours)


def test_a_mail_is_small_even_at_its_worst(database: Database, settings: Settings) -> None:
    long = "A long sentence about robots and what they do all day long in the field. " * 200
    factories.reader(database, settings, queries=["robots"], preferences=Preferences(paper_limit=50))
    factories.reader(database, settings, queries=["robots"], preferences=Preferences(paper_limit=10))
    rows_ = [
        factories.record(f"Robots {n} " + "with a Long Title " * 10, abstract=long, tldr=long[:300]) for n in range(60)
    ]
    factories.edition(database, *rows_)
    planned(database, settings)
    made = compose(database, settings)
    largest, usual = mails(made)
    assert len(part(largest, "html").encode()) < 100_000
    assert "and 10 more that matched your topics" in part(largest, "plain")
    assert len(usual.as_bytes()) <= 40_000


def test_an_accessible_page(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, queries=["robots"])
    factories.edition(database, factories.record("Robots"), factories.record("More Robots"))
    planned(database, settings)
    (mail,) = mails(compose(database, settings))
    tree = html.fromstring(part(mail, "html"))
    assert tree.get("lang") == "en"
    assert tree.xpath("string(//title)")
    assert tree.xpath("//img[not(@alt)]") == []
    assert tree.xpath("//table[not(@role='presentation')]") == []
    assert len(tree.xpath("//h1")) == 1
    assert len(tree.xpath("//h2")) == 2
    assert tree.xpath("//meta[@name='color-scheme']")
    assert "prefers-color-scheme: dark" in part(mail, "html")
    preheader = tree.xpath("string(//body//div[contains(@style, 'max-height:0')])").strip()
    assert 40 <= len(preheader) <= 130


def test_a_stranger_cannot_have_a_link_of_theirs_mailed_to_somebody(database: Database, settings: Settings) -> None:
    typed = ["www.evil.example/prize", "evil.example", "https evil.example", "robots"]
    with database.transaction() as session:
        wishes = interests.from_queries(typed)
        accounts.subscribe(session, settings, Signup("ada@example.org", wishes, Preferences(), Visit("test")))
    (mail,) = mails(compose(database, settings))
    for body in (part(mail, "plain"), part(mail, "html")):
        assert "evil.example" not in body
        assert "evil example" in " ".join(body.split())
        assert "robots" in body


def test_letters_carry_their_link_and_only_welcome_offers_unsubscribe_in_its_headers(
    database: Database, settings: Settings
) -> None:
    factories.edition(database, factories.record())
    with database.transaction() as session:
        signup = Signup("pending@example.org", interests.from_queries(["robots", "x" * 180]), visit=Visit("test"))
        accounts.subscribe(session, settings, signup)
    known = factories.reader(database, settings, "known@example.org", queries=["robots"])
    with database.transaction() as session:
        for kind in (DeliveryKind.SIGN_IN, DeliveryKind.WELCOME):
            rows.enqueue(session, kind=kind, reader_id=known, mail_domain=settings.mail_domain)
    by_subject = {mail["Subject"]: mail for mail in mails(compose(database, settings))}
    confirm = by_subject["Confirm your subscription to Paperround"]
    assert "https://papers.example/confirm/" in part(confirm, "plain")
    assert "https://papers.example/confirm/" in part(confirm, "html")
    assert "robots" in part(confirm, "plain")
    assert confirm["List-Unsubscribe"] is None
    assert "https://papers.example/sign-in/" in part(by_subject["Your link to sign in to Paperround"], "html")
    assert by_subject["Welcome to Paperround"]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("what", ["unsubscribed", "suppressed", "erased", "papers gone"])
def test_who_is_no_longer_entitled_gets_nothing(database: Database, settings: Settings, what: str) -> None:
    reader = factories.reader(database, settings, "ada@example.org", queries=["robots"])
    factories.edition(database, factories.record("Robots"))
    planned(database, settings)
    with database.transaction() as session:
        if what == "unsubscribed":
            stored = session.scalars(select(Reader)).one()
            stored.state, stored.next_digest_at = ReaderState.UNSUBSCRIBED, None
        elif what == "suppressed":
            digest = addresses.hashed(settings, addresses.parse("ada@example.org").key)
            suppression.add(session, digest, reason="complaint")
        elif what == "erased":
            session.execute(delete(Reader).where(Reader.id == reader))
        else:
            session.execute(delete(Paper))
    (made,) = compose(database, settings)
    assert isinstance(made, Withheld)


def test_a_reason_survives_the_interest_it_came_from(database: Database, settings: Settings) -> None:
    reader = factories.reader(database, settings, queries=["robots -fish"])
    factories.edition(database, factories.record("Robots"))
    planned(database, settings)
    with database.transaction() as session:
        interests.replace(session, reader, [Wish("birds", "birds")])
    (mail,) = mails(compose(database, settings))
    assert "Because you follow “robot”, but not “fish”" in " ".join(part(mail, "plain").split())


def test_an_international_domain_goes_to_the_envelope_in_ascii(database: Database, settings: Settings) -> None:
    factories.reader(database, settings, "ada@bücher.example", queries=["robots"])
    factories.edition(database, factories.record("Robots"))
    planned(database, settings)
    (made,) = compose(database, settings)
    assert isinstance(made, Composed)
    assert made.recipient == "ada@xn--bcher-kva.example"
    with database.transaction() as session:
        assert session.scalars(select(Delivery.message_id)).one().encode() in made.content


def test_text_is_cut_at_a_sentence_else_at_a_word() -> None:
    assert shortened_at_sentence("Short.", 20) == "Short."
    assert shortened_at_sentence("One sentence here. Another one follows it.", 30) == "One sentence here."
    assert shortened_at_sentence("word " * 30, 22) == "word word word word…"
    assert len(shortened_at_sentence("x" * 100, 20)) == 20


def test_a_variable_that_the_mjml_engine_would_swallow_is_an_error() -> None:
    source = '<mjml><mj-body><mj-section><mj-column width="{{ w }}"></mj-column></mj-section></mj-body></mjml>'
    with pytest.raises(mjml.TemplateError, match="dropped"):
        mjml.compiled("test", source)
    with pytest.raises(mjml.TemplateError):
        mjml.compiled("test", "<mjml><broken")


def test_each_paper_shows_the_words_by_which_it_came_marked_in_both_parts(
    database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, queries=['"speculative decoding"', "trout"])
    factories.edition(
        database,
        factories.record("Fast <b>Speculative-Decoding</b> & More"),
        factories.record("Fish", abstract="One sentence. We find that trouts <i>swim</i> upstream."),
    )
    planned(database, settings)
    (mail,) = mails(compose(database, settings))
    page = html.fromstring(part(mail, "html"))
    assert sorted(str(each.text) for each in page.xpath("//mark")) == ["Speculative-Decoding", "trouts"]
    assert not page.xpath("//b[contains(text(), 'Speculative')]|//i")
    text = part(mail, "plain")
    assert "*Speculative-Decoding*" in text
    assert "*trouts* <i>swim</i>" in text


def test_feedback_and_the_rest_are_signed_links_and_trending_papers_stand_apart(
    database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, queries=["robots"], preferences=Preferences(paper_limit=1))
    factories.edition(
        database, *(factories.record(f"Robots {n}") for n in range(3)), factories.record("Trout", upvotes=99)
    )
    planned(database, settings)
    with database.transaction() as session:
        digest = session.scalars(select(Digest)).one()
    (mail,) = mails(compose(database, settings))
    links = [str(each.get("href")) for each in html.fromstring(part(mail, "html")).xpath("//a")]
    signed = Links(settings)
    feedback = [link for link in links if link.startswith(f"{settings.origin}/feedback/")]
    assert {signed.read(Purpose.FEEDBACK, link.split("/")[-3]) for link in feedback} == {reader}
    assert {link.split("/")[-1] for link in feedback} == {"up", "down"}
    (more,) = [link for link in links if link.startswith(f"{settings.origin}/digest/")]
    assert signed.read(Purpose.DIGEST, more.split("/")[-1]) == digest.id
    assert "and 2 more" in part(mail, "plain")
    assert digest.trending_ids == [4]
    assert "Trending, beside what you asked for." in part(mail, "plain")
    assert "1 new paper for you" in part(mail, "plain")
