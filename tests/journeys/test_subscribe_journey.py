"""A reader's way through the site in a real Chromium: from subscribing to leaving."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from service.database import Database
from service.database.tables import ReaderState
from service.subscribers import accounts, interests
from tests import factories
from tests.journeys.conftest import Site

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(180)]


def reader(database: Database) -> accounts.ReaderView:
    with database.transaction() as session:
        (found,) = accounts.listing(session)
    return found


@pytest.mark.parametrize("javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_subscribe_confirm_change_and_leave(
    chromium: Browser, site: Site, database: Database, javascript: bool
) -> None:
    context = chromium.new_context(java_script_enabled=javascript, timezone_id="Europe/Berlin")
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda message: trouble.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: trouble.append(request.url) if not request.url.startswith(site.url) else None)

    page.goto(f"{site.url}/topics")
    page.get_by_label("Robot learning and manipulation", exact=True).check()
    page.get_by_role("button", name="Subscribe to the ticked topics").click()
    assert page.get_by_role("checkbox", name="Robot learning and manipulation").is_checked()
    if javascript:
        assert page.get_by_label("Time zone").input_value() == "Europe/Berlin"
    page.get_by_label("Your email address").fill("ada@example.org")
    page.get_by_label("Your own keywords").fill("robots (")
    page.get_by_role("button", name="Subscribe", exact=True).click()
    assert "a parenthesis is not closed" in page.get_by_role("alert").inner_text()
    trouble.clear()  # the browser notes the 400
    page.get_by_label("Your own keywords").fill('"robots that learn" -survey')
    page.get_by_role("button", name="Subscribe", exact=True).click()
    assert page.get_by_role("heading", name="Check your inbox").is_visible()
    assert reader(database).state == ReaderState.PENDING

    page.goto(site.links.confirm(reader(database).id))
    assert reader(database).state == ReaderState.PENDING
    page.get_by_role("button", name="Yes, send me my papers").click()
    assert page.get_by_text("Your subscription is confirmed").is_visible()
    assert reader(database).state == ReaderState.ACTIVE

    page.get_by_label("At", exact=True).select_option("21")
    page.get_by_label("Sun", exact=True).uncheck()
    page.get_by_label("Never send me").fill("fish")
    page.get_by_role("button", name="Save").click()
    assert page.get_by_text("Saved.").is_visible()
    assert reader(database).hour == 21
    assert reader(database).weekdays == 0b0111111
    with database.transaction() as session:
        assert len(interests.of(session, reader(database).id)) == 3

    page.get_by_role("link", name="Unsubscribe").click()
    assert reader(database).state == ReaderState.ACTIVE
    page.get_by_role("button", name="Unsubscribe").click()
    assert page.get_by_role("heading", name="You are unsubscribed").is_visible()
    assert reader(database).state == ReaderState.UNSUBSCRIBED
    assert trouble == []
    context.close()


def test_the_keyboard_reaches_the_content_first(chromium: Browser, site: Site) -> None:
    page = chromium.new_page()
    page.goto(site.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.close()


def test_what_would_have_come_appears_while_a_query_is_typed(chromium: Browser, site: Site, database: Database) -> None:
    factories.edition(database, factories.record("Zorking Robots at Sea"), factories.record("Trout"))
    page = chromium.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.post_data or "") if "/preview" in request.url else None)
    page.goto(f"{site.url}/subscribe")
    page.get_by_label("Your email address").fill("ada@example.org")
    page.locator("#queries").press_sequentially("zorking robots")
    page.locator("#preview mark").first.wait_for()
    assert page.locator("#preview mark").all_text_contents() == ["Zorking", "Robots"]
    assert asked
    assert not any("ada" in each for each in asked)
    page.close()


def test_papers_one_liked_become_keywords_without_a_script(chromium: Browser, site: Site) -> None:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 320, "height": 640})
    page = context.new_page()
    page.goto(f"{site.url}/subscribe")
    page.get_by_label("Papers you liked").fill("Robots That Learn 1")
    page.get_by_role("button", name="Make keywords of them").click()
    assert "robot" in page.get_by_label("Your own keywords").input_value()
    assert page.get_by_text("Added to your keywords").is_visible()
    assert page.locator("#preview mark").count() > 0
    context.close()
