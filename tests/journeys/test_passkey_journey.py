"""An operator's passkeys in a real Chromium, with authenticators that its debugger makes."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, CDPSession, Page

from service.database import Database
from service.database.tables import OperatorRole
from service.operators import audit
from tests.journeys.conftest import Site
from tests.journeys.test_reader_journey import AXE, Looked
from tests.operators.conftest import operator

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(180)]


def plugged_in(debugger: CDPSession, *, verifies: bool) -> str:
    """The id of a new authenticator: a laptop's own that knows its user's finger, or a key that is only touched."""
    options = {
        "protocol": "ctap2",
        "transport": "internal" if verifies else "usb",
        "hasResidentKey": verifies,
        "hasUserVerification": verifies,
        "isUserVerified": verifies,
        "automaticPresenceSimulation": True,
    }
    made = debugger.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return str(made["authenticatorId"])


def enter(page: Page, site: Site, operator_id: int, *, after: str = "") -> str:
    """In by a link, which is returned; of the same second as the one ``after`` which it comes it would be the same."""
    while (link := site.links.operator(operator_id)) == after:
        page.wait_for_timeout(50)
    page.goto(link)
    page.get_by_role("button", name="Sign in").click()
    return link


def arrive(page: Page, look: Looked, heading: str) -> None:
    """What a script posts takes a moment."""
    page.get_by_role("heading", name=heading).first.wait_for()
    look.at(heading)


def sign_out(page: Page, look: Looked) -> None:
    page.get_by_role("button", name="Sign out", exact=True).first.click()
    look.at("Dashboard: sign in")


def test_set_up_at_the_door_then_alone_then_a_key_after_the_link(
    chromium: Browser, site: Site, database: Database
) -> None:
    olga = operator(database, OperatorRole.VIEWER)
    context = chromium.new_context(viewport={"width": 320, "height": 800})
    page = context.new_page()
    trouble: list[str] = []
    page.on("console", lambda said: trouble.append(said.text) if "Content Security" in said.text else None)
    debugger = context.new_cdp_session(page)
    debugger.send("WebAuthn.enable")
    laptop = plugged_in(debugger, verifies=True)
    look = Looked(page, with_axe=AXE.exists())

    link = enter(page, site, olga)
    look.at("Set up the second factor")
    page.get_by_role("button", name="Set up a passkey").click()
    arrive(page, look, "Today’s round")
    sign_out(page, look)

    debugger.send("WebAuthn.setUserVerified", {"authenticatorId": laptop, "isUserVerified": False})
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.get_by_text("No passkey was given").wait_for()
    look.at("Dashboard: sign in")
    debugger.send("WebAuthn.setUserVerified", {"authenticatorId": laptop, "isUserVerified": True})
    page.get_by_role("button", name="Sign in with a passkey").click()
    arrive(page, look, "Today’s round")

    page.get_by_role("link", name="You", exact=True).click()
    look.at("You")
    page.get_by_role("button", name="Set up a passkey").click()
    page.get_by_text("This device has a passkey of yours already.").wait_for()
    debugger.send("WebAuthn.removeVirtualAuthenticator", {"authenticatorId": laptop})
    plugged_in(debugger, verifies=False)
    page.get_by_label("A name for it").fill("Blue key")
    page.get_by_role("button", name="Set up a passkey").click()
    page.get_by_role("row", name="Blue key").get_by_text("after a link", exact=True).wait_for()
    look.at("You")
    sign_out(page, look)

    enter(page, site, olga, after=link)
    look.at("Your passkey")
    page.get_by_role("button", name="Use a passkey").click()
    arrive(page, look, "Today’s round")
    page.get_by_role("link", name="You", exact=True).click()
    page.get_by_role("button", name="Remove Passkey of").click()
    page.get_by_role("button", name="Remove Blue key").click()
    look.at("That is not possible")
    assert page.get_by_text("this is your only second factor").is_visible()
    assert trouble == []
    context.close()
    with database.transaction() as session:
        lines = [line.act for line in audit.page(session, operator_id=olga, limit=20).lines]
    assert [act for act in reversed(lines) if "passkey" in act] == [
        "passkey enrolled", "passkey used", "passkey enrolled", "passkey used", "passkey removed",
    ]  # fmt: skip


def test_without_javascript_there_are_codes(chromium: Browser, site: Site, database: Database) -> None:
    context = chromium.new_context(viewport={"width": 320, "height": 800}, java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/admin/sign-in")
    assert page.get_by_text("A passkey needs JavaScript").is_visible()
    assert not page.get_by_role("button", name="Sign in with a passkey").is_visible()
    enter(page, site, operator(database))
    assert page.get_by_text("A passkey needs JavaScript").is_visible()
    assert page.get_by_label("The six digits").is_visible()
    context.close()
