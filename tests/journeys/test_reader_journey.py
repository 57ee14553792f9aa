"""A reader's whole life in a real Chromium: every mail is composed and its links are followed."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import select

from service import rounds, translation
from service.database import Database
from service.database.tables import DeliveryState as State
from service.database.tables import Reader, ReaderState
from service.digests import plan
from service.mails.compose import Composed, Composer
from service.mails.letterhead import SITE_NAME
from service.outbox import rows
from service.outbox.claims import Outcome
from service.subscribers import feedback, marks
from service.translation import gettext as _
from tests import factories
from tests.journeys.conftest import Site

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(180)]

AXE = Path(__file__).parents[1] / "node" / "node_modules" / "axe-core" / "axe.min.js"


def post(database: Database, site: Site) -> dict[str, str]:
    """Everything that is due, sent: the text of each mail by its subject; "to" before it tells whom it went to."""
    claims = rows.claim(database, owner="test", limit=100, lease=timedelta(minutes=5))
    with database.transaction() as session:
        made = Composer(site.settings).compose(session, claims)
    rows.settle(database, "test", [Outcome(each.delivery_id, State.SENT, "250 ok") for each in made])
    mails = {}
    for each in made:
        assert isinstance(each, Composed), each
        mail = message_from_bytes(each.content, policy=policy.default)
        body = mail.get_body(("plain",))
        assert body is not None
        mails[str(mail["Subject"])] = f"to {each.recipient}\n{body.get_content()}"
    return mails


def link(mail: str, purpose: str) -> str:
    found = re.search(rf"http://\S+/{purpose}/\S+", mail)
    assert found is not None, mail
    return found[0]


def only(database: Database) -> Reader:
    with database.transaction() as session:
        return session.scalars(select(Reader)).one()


def overflow(page: Page) -> int:
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


class Looked:
    """Each page that the reader comes by is looked at: it fits, and no rule of accessibility is broken."""

    def __init__(self, page: Page, *, with_axe: bool) -> None:
        self._page = page
        self._axe = AXE.read_text(encoding="utf-8") if with_axe else None

    def at(self, heading: str) -> None:
        assert self._page.get_by_role("heading", name=heading).first.is_visible(), self._page.content()
        self.here(heading)

    def here(self, heading: str) -> None:
        assert overflow(self._page) == 0, heading
        if self._axe is not None:
            # Evaluated by the debugger, which the page's own policy does not bind.
            self._page.evaluate(self._axe)
            found = self._page.evaluate("axe.run().then(found => found.violations.map(each => [each.id, each.help,"
                                        " each.nodes.map(node => node.html)]))")  # fmt: skip
            assert found == [], heading


def sign_up(page: Page, look: Looked, site: Site, database: Database) -> str:
    """From the form to the first digest, which is returned."""
    page.goto(f"{site.url}/subscribe")
    look.at(_("Subscribe"))
    page.get_by_label(_("Your email address")).fill("ada@example.org")
    page.get_by_label(_("Your own keywords")).fill("robots")
    page.get_by_role("button", name=_("Subscribe"), exact=True).click()
    look.at(_("Check your inbox"))
    page.goto(link(post(database, site)[_("Confirm your subscription to %(site)s", site=SITE_NAME)], "confirm"))
    look.at(_("One click more"))
    page.get_by_role("button", name=_("Yes, send me my papers.")).click()
    look.at(_("Your preferences"))
    assert page.get_by_text(_("Your first mail comes in a minute, if there is something on your topics.")).is_visible()

    rounds.plan_due(database, site.settings)
    mails = post(database, site)
    digest = next(text for subject, text in mails.items() if subject != _("Welcome to %(site)s", site=SITE_NAME))
    assert "Robots That Learn" in digest
    return digest


def tune_and_judge(page: Page, database: Database, digest: str) -> None:
    """Change preferences; say that a paper is not for me."""
    page.get_by_label(_("How much of %(interest)s", interest="robots")).select_option("more")
    page.get_by_label(_("A mail at once for %(interest)s", interest="robots")).check()
    page.get_by_label(_("Abstracts")).select_option("full")
    page.get_by_role("button", name=_("Save")).click()
    assert page.get_by_text(_("Saved.")).is_visible()
    assert only(database).abstracts == "full"

    page.goto(link(digest, "feedback"))
    word = page.get_by_role("button", name=_("👎 Not for me"))
    if not word.is_visible():  # the first of the two links is the thumb up
        page.goto(re.sub("/up$", "/down", page.url))
    page.get_by_role("button", name=_("👎 Not for me")).click()
    assert page.get_by_text(_("Noted: what is like this comes last from now on.")).is_visible()
    with database.transaction() as session:
        assert [each.liked for each in feedback.of(session, only(database).id)] == [False]


def go_through_the_papers(page: Page, look: Looked, database: Database, digest: str) -> None:
    """What matched is ticked off and put aside on a page of its own."""
    page.goto(link(digest, "preferences"))
    page.get_by_role("link", name=_("Your papers")).click()
    look.at(_("Your papers"))
    page.get_by_role("button", name=f"{_('Save')} Robots That Learn 1").click()
    page.get_by_role("button", name=_("Mark all on this page as read")).click()
    page.get_by_role("link", name=_("Unread"), exact=True).click()
    assert page.get_by_text(_("Nothing unread.")).is_visible()
    page.get_by_role("link", name=_("Saved"), exact=True).click()
    assert page.locator("article h2").all_inner_texts() == ["Robots That Learn 1"]
    look.at(_("Your papers"))
    with database.transaction() as session:
        assert len(marks.saved(session, only(database).id)) == 1


def pause_and_look_back(page: Page, look: Looked, site: Site, database: Database, digest: str) -> None:
    """Nothing comes; the digests so far are there."""
    page.goto(link(digest, "preferences"))
    day = (datetime.now(UTC) + timedelta(days=9)).date()
    page.get_by_label(_("Pause until")).fill(day.isoformat())
    page.get_by_role("button", name=_("Save")).click()
    assert page.get_by_text(
        _("Your mails are paused; the next one may come on %(when)s.", when="|").split("|")[0]
    ).is_visible()
    factories.edition(database, factories.record("Robots at Rest"))
    assert plan.plan_due(database, site.settings, everyone=True).digests == 0
    page.get_by_role("link", name=_("Your digests so far")).click()
    look.at(_("Your digests"))
    page.locator("td a").first.click()
    look.at(_("Your digest"))


def move(page: Page, look: Looked, site: Site, database: Database, digest: str) -> None:
    """Sign in by mail; the new address confirms, the old one is told."""
    page.goto(link(digest, "preferences"))
    page.get_by_role("button", name=_("Mail me a link to sign in")).click()
    page.goto(link(post(database, site)[_("Your link to sign in to %(site)s", site=SITE_NAME)], "sign-in"))
    look.at(_("Sign in"))
    page.get_by_role("button", name=_("Sign in")).click()
    look.at(_("Your account"))
    page.get_by_role("link", name=_("Move to another address")).click()
    look.at(_("Another address"))
    page.get_by_label(_("New email address")).fill("ada@new.example.org")
    page.get_by_role("button", name=_("Mail a link to the new address")).click()
    wanted = post(database, site)[_("Confirm this address for %(site)s", site=SITE_NAME)]
    assert wanted.startswith("to ada@new.example.org\n")
    page.goto(link(wanted, "address"))
    look.at(_("Your new address"))
    page.get_by_role("button", name=_("Yes, send my papers here.")).click()
    look.at(_("Your address is changed"))
    assert post(database, site)[_("Your %(site)s mails go elsewhere now", site=SITE_NAME)].startswith(
        "to ada@example.org\n"
    )


def leave_and_come_back(page: Page, look: Looked, database: Database, digest: str) -> None:
    """Leaving asks nothing; less is offered after it."""
    page.goto(link(digest, "preferences"))
    page.get_by_role("link", name=_("Unsubscribe")).click()
    look.at(_("Unsubscribe"))
    page.get_by_role("button", name=_("Unsubscribe")).click()
    look.at(_("You are unsubscribed"))
    assert only(database).state == ReaderState.UNSUBSCRIBED
    page.get_by_role("button", name=_("One mail a week instead")).click()
    look.at(_("Less, then"))
    assert (only(database).state, only(database).cadence) == (ReaderState.ACTIVE, "weekly")


def be_forgotten(page: Page, look: Looked, site: Site, database: Database) -> None:
    """Take the data along, and delete everything."""
    page.goto(f"{site.url}/sign-in")
    with database.connection() as connection:
        connection.exec_driver_sql("UPDATE delivery SET created_at = created_at - interval '1 hour'")
    page.get_by_label(_("Your email address")).fill("ada@new.example.org")
    page.get_by_role("button", name=_("Mail me a link")).click()
    page.goto(link(post(database, site)[_("Your link to sign in to %(site)s", site=SITE_NAME)], "sign-in"))
    page.get_by_role("button", name=_("Sign in")).click()
    with page.expect_download() as download:
        page.get_by_role("link", name=_("Download all your data (JSON)")).click()
    data = json.loads(Path(download.value.path()).read_text(encoding="utf-8"))
    assert data["reader"]["email"] == "ada@new.example.org"
    page.get_by_role("link", name=_("Delete everything")).click()
    look.at(_("Delete everything"))
    page.get_by_role("button", name=_("Delete everything")).click()
    look.at(_("Everything is deleted"))
    assert post(database, site)[_("Goodbye from %(site)s", site=SITE_NAME)].startswith("to ada@new.example.org\n")
    with database.transaction() as session:
        assert session.scalars(select(Reader)).all() == []


@pytest.mark.parametrize(
    "from_the_right", [False, True], ids=["wide", "without JavaScript, small, dark, from the right"]
)
def test_from_signing_up_to_being_forgotten(
    chromium: Browser, site: Site, database: Database, from_the_right: bool
) -> None:
    spoken = translation.of("ar" if from_the_right else "en")
    context = chromium.new_context(
        java_script_enabled=not from_the_right,
        viewport={"width": 320 if from_the_right else 1280, "height": 800},
        color_scheme="dark" if from_the_right else "light",
        locale=spoken.tag,
    )
    page = context.new_page()
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if not request.url.startswith(site.url) else None)
    look = Looked(page, with_axe=not from_the_right and AXE.exists())

    with translation.speaking(spoken):
        digest = sign_up(page, look, site, database)
        assert page.locator("html").get_attribute("dir") == spoken.direction
        tune_and_judge(page, database, digest)
        go_through_the_papers(page, look, database, digest)
        pause_and_look_back(page, look, site, database, digest)
        move(page, look, site, database, digest)
        leave_and_come_back(page, look, database, digest)
        be_forgotten(page, look, site, database)
    assert foreign == []
    context.close()


def test_from_signing_up_to_leaving_by_keyboard_alone(chromium: Browser, site: Site, database: Database) -> None:
    page = chromium.new_page()
    focused = "document.activeElement.name || document.activeElement.textContent.trim()"

    def tab_to(name: str) -> None:
        for _tab in range(160):
            page.keyboard.press("Tab")
            if page.evaluate(focused) == name:
                return
        raise AssertionError(f"Tab does not reach {name}")

    page.goto(f"{site.url}/subscribe")
    tab_to("email")
    page.keyboard.type("ada@example.org")
    tab_to("queries")
    page.keyboard.type("robots")
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")  # in a field: what the form is for, whatever other buttons it has
    page.get_by_role("heading", name="Check your inbox").wait_for()
    page.goto(link(post(database, site)["Confirm your subscription to Paperround"], "confirm"))
    tab_to("Yes, send me my papers.")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Your preferences").wait_for()
    tab_to("hour")
    page.keyboard.type("21")
    tab_to("limit")
    page.keyboard.press("Control+A")
    page.keyboard.type("3")
    tab_to("Save")
    page.keyboard.press("Enter")
    page.get_by_text("Saved.").wait_for()
    assert (only(database).digest_hour, only(database).paper_limit) == (21, 3)
    tab_to("Unsubscribe")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Unsubscribe").wait_for()
    tab_to("Unsubscribe")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="You are unsubscribed").wait_for()
    assert only(database).state == ReaderState.UNSUBSCRIBED
    page.close()


PUBLIC = (
    "/", "/days", "/week", "/month", "/trending", "/editions", "/editions/1", "/topics", "/topics/robot-learning",
    "/subscribe", "/search?q=robots", "/search?q=(", "/papers/1", "/papers/1/more", "/authors/Invented%20Author",
    "/sign-in", "/nowhere", "/api/v1/",
)  # fmt: skip


@pytest.mark.parametrize(
    ("scheme", "language"), [("light", "en"), ("dark", "ar")], ids=["light", "dark, from the right"]
)
def test_every_page_fits_a_small_phone_and_breaks_no_rule_of_accessibility(
    chromium: Browser, site: Site, scheme: str, language: str
) -> None:
    context = chromium.new_context(viewport={"width": 320, "height": 640}, color_scheme=scheme, locale=language)  # type: ignore[arg-type]
    page = context.new_page()
    look = Looked(page, with_axe=AXE.exists())
    for path in PUBLIC:
        page.goto(site.url + path)
        # The description of the API is for those who write programs, and in English.
        from_the_right = language == "ar" and not path.startswith("/api/")
        assert page.locator("html").get_attribute("dir") == ("rtl" if from_the_right else "ltr")
        look.here(path)
    context.close()


def test_no_page_of_the_account_breaks_a_rule_of_accessibility_in_the_dark(
    chromium: Browser, site: Site, database: Database
) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci in tests/node")
    reader = factories.reader(database, site.settings, queries=["robots"])
    context = chromium.new_context(color_scheme="dark", viewport={"width": 320, "height": 800})
    page = context.new_page()
    look = Looked(page, with_axe=True)
    for url, heading in (
        (site.links.preferences(reader), "Your preferences"),
        (site.links.preferences(reader) + "/digests", "Your digests"),
        (site.links.sign_in(reader), "Sign in"),
        (f"{site.url}/sign-in", "Sign in"),
        (site.links.unsubscribe(reader), "Unsubscribe"),
    ):
        page.goto(url)
        look.at(heading)
    context.close()
