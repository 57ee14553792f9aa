"""An operator's way in a real Chromium: made by a command, in by mail and code, round the dashboard, and out."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page

from service.cli import app as commands
from service.database import Database
from service.database.tables import OperatorRole
from service.operators import second_factor
from service.overview import days
from tests.journeys.conftest import Site
from tests.journeys.test_reader_journey import AXE, Looked, post
from tests.operators.conftest import operator
from tests.overview.rows import deliveries, returns

pytestmark = [pytest.mark.chromium, pytest.mark.timeout(180)]


def add_operator(site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("database_url", "site_url", "smtp_url"):
        monkeypatch.setenv(f"PAPERROUND_{name.upper()}", str(getattr(site.settings, name)))
    monkeypatch.setenv("PAPERROUND_SECRET", site.settings.signing_key)
    monkeypatch.setenv("PAPERROUND_HOME", str(site.settings.home))
    monkeypatch.setattr("sys.argv", ["paperround", "operators", "add", "olga@example.org", "--role", "owner"])
    with pytest.raises(SystemExit) as ended:
        commands.main()
    assert not ended.value.code
    assert "Added as owner" in capsys.readouterr().out


def sign_in(page: Page, look: Looked, site: Site, database: Database) -> None:
    page.goto(f"{site.url}/admin")
    look.at("Dashboard: sign in")
    page.get_by_label("Your email address").fill("olga@example.org")
    page.get_by_role("button", name="Mail me a link").click()
    look.at("Check your inbox")
    mail = post(database, site)["Your link to the dashboard of Paperround"]
    found = re.search(r"http\S+/admin/enter/\S+", mail)
    assert found
    page.goto(found[0])
    look.at("Sign in to the dashboard")
    page.get_by_role("button", name="Sign in").click()
    look.at("Set up the second factor")
    assert page.get_by_role("img", name="QR code for your authenticator app").is_visible()
    typed = page.locator("code.typed").inner_text()
    secret = parse_secret(typed)
    page.get_by_label("The six digits").fill("000000")
    page.get_by_role("button", name="Go on").click()
    assert page.get_by_role("alert").is_visible()
    page.get_by_label("The six digits").fill(second_factor.code(secret, datetime.now(UTC)))
    page.get_by_role("button", name="Go on").click()


def parse_secret(typed: str) -> bytes:
    letters = typed.replace(" ", "")
    return base64.b32decode(letters + "=" * (-len(letters) % 8))


def test_from_the_command_to_signing_out(
    chromium: Browser, site: Site, database: Database, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    now = datetime.now(UTC)
    deliveries(database, "sent", 1200, settled=now)
    deliveries(database, "sending", 3, lease=now - timedelta(hours=1))
    returns(database, "hard bounce", 2, now)
    days.close(database)
    add_operator(site, monkeypatch, capsys)
    context = chromium.new_context(viewport={"width": 1100, "height": 800})
    page = context.new_page()
    trouble: list[str] = []
    page.on("request", lambda request: trouble.append(request.url) if not request.url.startswith(site.url) else None)
    page.on("console", lambda said: trouble.append(said.text) if "Content Security" in said.text else None)
    look = Looked(page, with_axe=AXE.exists())

    sign_in(page, look, site, database)
    look.at("Today’s round")
    picture = page.get_by_role("img", name="Today’s round")
    assert "Sent: 1,200. Bounced: 2." in (picture.text_content() or "")
    deliveries(database, "sent", 34, settled=now)
    page.locator("svg text", has_text="1,234").wait_for(timeout=20_000)
    page.get_by_role("button", name="Stop refreshing").click()

    # A telephone at night.
    page.set_viewport_size({"width": 320, "height": 800})
    page.emulate_media(color_scheme="dark")
    look.at("Today’s round")
    for entry, heading in (("Trends", "Trends"), ("Sources", "Sources"), ("You", "You"), ("Operators", "Operators")):
        page.get_by_role("link", name=entry, exact=True).click()
        look.at(heading)
    page.get_by_role("link", name="Trouble", exact=True).click()
    look.at("Trouble")
    page.get_by_role("button", name="Release leases").click()
    assert page.get_by_text("Done: leases released. deliveries: 3").is_visible()
    look.at("Trouble")
    page.get_by_role("link", name="Log", exact=True).click()
    look.at("Log")
    assert page.get_by_role("cell", name="leases released").is_visible()
    page.get_by_role("button", name="Sign out").click()
    look.at("Dashboard: sign in")
    page.goto(f"{site.url}/admin/log")
    assert urlsplit(page.url).path == "/admin/sign-in"
    assert trouble == []
    context.close()


def test_without_javascript_everything_is_done_by_forms(
    chromium: Browser, site: Site, database: Database, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    now = datetime.now(UTC)
    deliveries(database, "sent", 1234, settled=now)
    deliveries(database, "sending", 3, lease=now - timedelta(hours=1))
    add_operator(site, monkeypatch, capsys)
    operator(database, OperatorRole.VIEWER, "vera@example.org")
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 320, "height": 800})
    page = context.new_page()
    look = Looked(page, with_axe=False)

    sign_in(page, look, site, database)
    look.at("Today’s round")
    assert page.get_by_role("button", name="Stop refreshing").is_hidden(), "it would do nothing"
    page.get_by_role("link", name="Refresh").click()
    assert page.locator("svg text", has_text="1,234").is_visible()
    page.get_by_role("button", name="Pause all digests").click()
    assert page.get_by_text("Done: all digests paused").is_visible()
    page.get_by_role("button", name="Resume all digests").click()
    assert page.get_by_text("Done: all digests resumed").is_visible()
    page.get_by_role("link", name="Trouble", exact=True).click()
    page.get_by_role("button", name="Release leases").click()
    assert page.get_by_text("Done: leases released. deliveries: 3").is_visible()
    page.get_by_role("link", name="Trends", exact=True).click()
    page.get_by_role("link", name="90 days").click()
    look.at("Trends")
    page.get_by_role("link", name="Operators", exact=True).click()
    page.get_by_label("Role of vera@example.org", exact=True).select_option("editor")
    page.get_by_role("button", name="Change the role of vera@example.org").click()
    page.get_by_role("link", name="Log", exact=True).click()
    page.get_by_label("What").select_option("role changed")
    page.get_by_role("button", name="Show").click()
    assert page.get_by_role("cell", name="from viewer to editor").is_visible()
    page.get_by_role("link", name="You", exact=True).click()
    page.get_by_role("button", name="Sign out").first.click()
    page.goto(f"{site.url}/admin/log")
    assert urlsplit(page.url).path == "/admin/sign-in"
    context.close()
