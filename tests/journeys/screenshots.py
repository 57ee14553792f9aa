"""Takes the screenshots of the README: ``make screenshots``. Shows the invented sample papers only."""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import uvicorn
from playwright.sync_api import Browser, Page, sync_playwright

from service.database import Database
from service.digests import plan
from service.mails.compose import Composer
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

FOLDER: Final = Path(__file__).parents[2] / "docs" / "screenshots"
PORT: Final = 8099
MOST_BYTES: Final = 150_000


@dataclass(frozen=True)
class Scene:
    """What the pictures are taken of."""

    origin: str
    digest: str
    """HTML of a mail."""
    seat: str
    """The cookie of an operator."""


def _site(path: str) -> Callable[[Page, Scene], None]:
    def go(page: Page, scene: Scene) -> None:
        page.goto(scene.origin + path)

    return go


def _choosing(page: Page, scene: Scene) -> None:
    page.goto(f"{scene.origin}/subscribe")
    page.locator("[data-filter]").fill("robot")
    page.locator("input[value=robot-learning]").check()
    page.locator("input[value=drones]").check()
    page.locator("#preview mark").first.wait_for()
    page.evaluate("document.querySelector('fieldset').scrollIntoView()")


def _digest(page: Page, scene: Scene) -> None:
    # By itself: the site's policy would forbid the mail its styles.
    page.set_content(scene.digest)


def _desk(page: Page, scene: Scene) -> None:
    page.context.add_cookies([{"name": COOKIE, "value": scene.seat, "url": f"{scene.origin}/admin"}])
    page.goto(f"{scene.origin}/admin")


@dataclass(frozen=True)
class Shot:
    """One picture: how to come there, the window, and by day or by night."""

    name: str
    go: Callable[[Page, Scene], None]
    width: int
    height: int
    scheme: Literal["light", "dark"] = "light"


SHOTS: Final = (
    Shot("day", _site("/"), 1000, 740),
    Shot("sign-up", _site("/subscribe"), 1000, 740),
    Shot("preview", _choosing, 1000, 740),
    Shot("digest", _digest, 680, 860),
    Shot("digest-dark", _digest, 680, 860, "dark"),
    Shot("phone", _digest, 360, 720),
    Shot("dashboard", _desk, 1100, 900),
)


def main() -> None:
    """Write ``docs/screenshots/*.png``."""
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        sys.exit("screenshots need Chromium on the PATH")
    home = Path(tempfile.mkdtemp(prefix="paperround-screenshots-"))
    settings = Settings(home=home / "home", port=PORT, postal_address="1 Example Street, Exampletown")
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
        scene = Scene(settings.origin, mail.html, _seat(database, settings))
        for shot in SHOTS:
            _take(chromium, shot, scene)
        chromium.close()
        server.should_exit = True
        thread.join(20)
    shutil.rmtree(home, ignore_errors=True)


def _take(chromium: Browser, shot: Shot, scene: Scene) -> None:
    page = chromium.new_page(viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme)
    shot.go(page, scene)
    taken = page.screenshot()
    if len(taken) > MOST_BYTES:
        sys.exit(f"{shot.name}.png would be {len(taken):,} bytes, at most {MOST_BYTES:,} are wanted: a smaller window")
    (FOLDER / f"{shot.name}.png").write_bytes(taken)
    page.close()


def _seat(database: Database, settings: Settings) -> str:
    """The cookie of an invented operator, on a busy morning."""
    now = datetime.now(UTC)
    for state, count in (("sent", 8_412), ("failed", 3), ("queued", 1_585)):
        deliveries(database, state, count, settled=None if state == "queued" else now, due=now)
    return enrolled(database, settings, operator(database))[0]


if __name__ == "__main__":
    main()
