"""Takes the screenshots of the README: ``make screenshots``. Shows the invented sample papers only."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import uvicorn
from playwright.sync_api import sync_playwright

from service.database import Database
from service.digests import plan
from service.digests.compose import Composer
from service.papers import editions, ingest, samples
from service.readiness import open_ready
from service.settings import Settings
from service.up.first_round import SAMPLE_QUERY, SAMPLE_READER, SAMPLE_TOPICS
from service.web.admin.desk import COOKIE
from service.web.app import create_app
from tests import factories
from tests.journeys.conftest import QUIET
from tests.operators.conftest import enrolled, operator
from tests.overview.rows import deliveries

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
PORT = 8099


def main() -> None:
    """Write ``docs/screenshots/*.png``."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("screenshots need Chromium on the PATH")
    home = Path(tempfile.mkdtemp(prefix="paperround-screenshots-"))
    settings = Settings(home=home / "home", port=PORT)
    with open_ready(settings) as database, sync_playwright() as playwright:
        ingest.ingest(database, samples.SampleSource(), datetime.now(UTC).date())
        editions.cut(database)
        reader = factories.reader(database, settings, SAMPLE_READER, topics=SAMPLE_TOPICS, queries=[SAMPLE_QUERY])
        draft = plan.peek(database, reader)
        assert draft is not None
        with database.transaction() as session:
            mail = Composer(settings).preview(session, reader, draft)
        server = uvicorn.Server(uvicorn.Config(create_app(settings, database), port=PORT, log_config=None))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        chromium = playwright.chromium.launch(executable_path=program, args=QUIET)
        FOLDER.mkdir(parents=True, exist_ok=True)
        page = chromium.new_page(viewport={"width": 1100, "height": 900})
        page.goto(settings.origin)
        page.screenshot(path=FOLDER / "day.png")
        page.context.add_cookies(
            [{"name": COOKIE, "value": _seat(database, settings), "url": f"{settings.origin}/admin"}]
        )
        page.goto(f"{settings.origin}/admin")
        page.screenshot(path=FOLDER / "dashboard.png", full_page=True)
        # A page of its own: the site's policy would forbid the mail its styles.
        page = chromium.new_page(viewport={"width": 700, "height": 900})
        page.set_content(mail.html)
        page.screenshot(path=FOLDER / "digest.png")
        chromium.close()
        server.should_exit = True
        thread.join(20)
    shutil.rmtree(home, ignore_errors=True)


def _seat(database: Database, settings: Settings) -> str:
    """The cookie of an invented operator, on a busy morning."""
    now = datetime.now(UTC)
    for state, count in (("sent", 8_412), ("failed", 3), ("queued", 1_585)):
        deliveries(database, state, count, settled=None if state == "queued" else now, due=now)
    return enrolled(database, settings, operator(database))[0]


if __name__ == "__main__":
    main()
