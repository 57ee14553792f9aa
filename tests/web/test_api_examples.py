"""The examples of docs/api.md, run against a real server."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from service.database import Database
from service.settings import Settings
from service.subscribers.topics import catalogue
from service.web.app import create_app
from tests import factories

DOCUMENT = (Path(__file__).parents[2] / "docs" / "api.md").read_text()


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def origin(settings: Settings, database: Database) -> Iterator[str]:
    catalogue.sync(database)
    factories.edition(database, *(factories.record(f"Robots and Language Models {n}") for n in range(25)))
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{door.getsockname()[1]}"
        app = create_app(settings.model_copy(update={"site_url": address}), database)
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [door]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield address
        server.should_exit = True
        thread.join()


def test_the_curl_example_works(origin: str) -> None:
    script = example("sh").replace("http://localhost:8000", origin).replace("curl -s", "curl -sf")
    done = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    assert done.stdout.count('"papers"') == 2
    assert '"total":25' in done.stdout
    assert "cat:cs.CL" in done.stdout
    assert '"editions"' in done.stdout


def test_the_python_example_follows_every_page(origin: str) -> None:
    script = example("python").replace("http://localhost:8000", origin)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert len(set(done.stdout.splitlines())) == 25
