"""A real Chromium, and the site on a free port with a few papers."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from playwright.sync_api import Browser, sync_playwright

from service.database import Database
from service.settings import Settings
from service.subscribers.tokens import Links
from service.subscribers.topics import catalogue
from service.web.app import create_app
from tests import factories

QUIET = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("Chromium is not on this machine")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=QUIET)
        yield browser
        browser.close()


@dataclass(frozen=True)
class Site:
    """A running site."""

    url: str
    links: Links
    settings: Settings


@pytest.fixture
def site(settings: Settings, database: Database) -> Iterator[Site]:
    """The site on a free port, with a few papers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # By name: a bare address can have no passkeys.
    here = settings.model_copy(update={"site_url": f"http://localhost:{port}"})
    catalogue.sync(database)
    factories.edition(
        database, *(factories.record(f"Robots That Learn {n}", abstract="About robots. " * 40) for n in range(5))
    )
    config = uvicorn.Config(create_app(here, database), port=port, log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    give_up = time.monotonic() + 20
    while not server.started:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    yield Site(here.origin, Links(here), here)
    server.should_exit = True
    thread.join(20)
