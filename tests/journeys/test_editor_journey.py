"""An editor's morning in a real Chromium: a reader helped, a topic edited, a note written, a digest tried."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import select

from service import rounds
from service.database import Database
from service.database.tables import Interest, OperatorRole, Reader, ReaderState
from service.delivery import crew
from service.delivery.mailbox import Mailbox
from service.settings import Settings
from service.web.admin.desk import COOKIE
from tests import factories
from tests.journeys.conftest import Site
from tests.journeys.test_reader_journey import AXE, Looked
from tests.operators.conftest import enrolled, operator

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(180)]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Of a laptop, whose mail lands in its own mailbox; the database stays the test's."""
    return settings.model_copy(update={"database_url": None, "smtp_url": None})


def seat(page: Page, site: Site, database: Database) -> None:
    token, _ = enrolled(database, site.settings, operator(database, OperatorRole.EDITOR, "edith@example.org"))
    page.context.add_cookies([{"name": COOKIE, "value": token, "url": f"{site.url}/admin"}])


def help_a_reader(page: Page, look: Looked, site: Site, database: Database) -> None:
    page.goto(f"{site.url}/admin/readers")
    look.at("Readers")
    page.get_by_label("An address, its beginning, or an id").fill("bob@")
    page.get_by_role("button", name="Find").click()
    assert "bob" not in page.url
    page.get_by_role("link", name="bob@example.org").click()
    assert page.get_by_role("link", name="Robots That Learn").first.is_visible()
    page.get_by_text("Suppress this address").click()
    page.get_by_label("Why").fill("asked by phone")
    page.get_by_role("button", name="Suppress", exact=True).click()
    assert page.get_by_role("status").filter(has_text="Done: address suppressed").is_visible()
    look.at("bob@example.org")
    with database.transaction() as session:
        assert session.scalars(select(Reader.state).where(Reader.email == "bob@example.org")).one() == (
            ReaderState.UNSUBSCRIBED
        )


def edit_a_topic(page: Page, look: Looked, site: Site, database: Database, javascript: bool) -> None:
    page.goto(f"{site.url}/admin/topics")
    look.at("Topics")
    page.get_by_role("link", name="New benchmarks").click()
    query = page.get_by_label("Query")
    query.fill("robots AND (")
    if javascript:
        page.get_by_role("alert").filter(has_text="(at character").wait_for()
        look.at("New benchmarks")
        query.fill("robots")
        page.get_by_role("heading", name="5 papers in the last 30 days").wait_for()
    else:
        page.get_by_role("button", name="Try it").click()
        assert page.get_by_role("alert").filter(has_text="(at character").is_visible()
        page.get_by_label("Query").fill("robots")
        page.get_by_role("button", name="Try it").click()
        assert page.get_by_role("heading", name="5 papers in the last 30 days").is_visible()
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").filter(has_text="topic edited").is_visible()
    with database.transaction() as session:
        assert session.scalars(select(Interest.query_id).distinct()).one()


def write_a_note(page: Page, look: Looked, site: Site) -> None:
    page.goto(f"{site.url}/admin/note")
    page.get_by_label("The note").fill("We moved: https://example.org/new.")
    page.get_by_role("button", name="Preview").click()
    assert page.get_by_role("link", name="https://example.org/new", exact=True).is_visible()
    look.at("So it will look")
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").filter(has_text="note saved").is_visible()


def try_a_digest(page: Page, look: Looked, site: Site, database: Database, reader: int) -> None:
    page.goto(f"{site.url}/admin/readers/{reader}")
    page.get_by_role("link", name="What would come now").click()
    look.at("Preview")
    frame = page.frame_locator("iframe")
    assert frame.get_by_text("We moved:").is_visible()
    assert frame.get_by_role("heading", name="Robots That Learn 6").is_visible()
    page.get_by_role("button", name="Send it to me").click()
    assert page.get_by_role("status").filter(has_text="test sent").is_visible()
    # Playwright's own loop runs in this thread.
    with Mailbox.running(site.settings), ThreadPoolExecutor(1) as sender:
        sender.submit(crew.send_due_together, database, site.settings, insist=True).result()
    page.goto(f"{site.url}/mailbox")
    page.get_by_role("link", name="[Test]").click()
    assert page.get_by_text("to edith@example.org").is_visible()
    assert page.frame_locator("iframe").get_by_text("We moved:").is_visible()
    with database.transaction() as session:
        got = session.get_one(Reader, reader)
        assert got.last_edition_id == 1


@pytest.mark.parametrize(
    ("javascript", "width"), [(True, 1280), (False, 320)], ids=["with JavaScript", "a small phone"]
)
def test_an_editors_morning(chromium: Browser, site: Site, database: Database, javascript: bool, width: int) -> None:
    ada = factories.reader(database, site.settings, "ada@example.org", topics=["benchmarks"], queries=["robots"])
    factories.reader(database, site.settings, "bob@example.org", queries=["robots"])
    rounds.plan_due(database, site.settings, everyone=True)
    context = chromium.new_context(java_script_enabled=javascript, viewport={"width": width, "height": 900})
    page = context.new_page()
    look = Looked(page, with_axe=javascript and AXE.exists())
    seat(page, site, database)
    help_a_reader(page, look, site, database)
    edit_a_topic(page, look, site, database, javascript)
    write_a_note(page, look, site)
    factories.edition(database, factories.record("Robots That Learn 6"), now=datetime.now(UTC))
    try_a_digest(page, look, site, database, ada)
    context.close()
