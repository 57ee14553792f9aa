"""`paperround up` as a newcomer runs it: every process real, no network to the sources."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


class House:
    """One data folder on one port, and the `up` process that runs it."""

    def __init__(self, home: Path, port: int) -> None:
        self.home, self.port = home, port
        clean = {name: value for name, value in os.environ.items() if not name.startswith("PAPERROUND_")}
        self.environment = clean | {
            "PAPERROUND_HOME": str(home),
            "PAPERROUND_PORT": str(port),
            "PAPERROUND_FORM_SECONDS": "0",
            "PAPERROUND_HUGGINGFACE_URL": "http://no-such-host.invalid",
            "PAPERROUND_ARXIV_RSS_URL": "http://no-such-host.invalid",
        }
        self.output = home.with_suffix(".out")
        self.process: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        with self.output.open("wb") as output:
            command = [sys.executable, "-m", "service.cli", "up"]
            self.process = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)
        self.until(lambda: "Ctrl-C stops everything" in self.said())

    def close(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGINT)
        status = self.process.wait(60)
        self.process = None
        return status

    def said(self) -> str:
        return self.output.read_text() if self.output.exists() else ""

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def mailbox(self) -> list[dict[str, Any]]:
        return list(json.loads(self.get("/mailbox.json")))

    def children(self) -> list[psutil.Process]:
        rows = json.loads((self.home / "run" / "children.json").read_text())
        return [psutil.Process(row["pid"]) for row in rows]

    def until(self, condition: Callable[[], bool], seconds: float = 60) -> None:
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, self.said()
            if self.process is not None:
                assert self.process.poll() is None, self.said()
            time.sleep(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def house(home: Path) -> Iterator[House]:
    made = House(home, free_port())
    yield made
    if made.process is not None:
        made.close()


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=20)
    return alive == []


def test_a_newcomer_reads_a_digest_subscribes_and_everything_stops_and_continues(house: House) -> None:
    house.open()
    said = house.said()
    assert "48 sample papers (invented" in said
    assert f"http://localhost:{house.port}/mailbox" in said
    (mail,) = house.mailbox()
    assert mail["to"] == "reader@localhost"
    assert b"Because you follow" in house.get(f"/mailbox/{mail['key']}/html")
    assert b"invented for Paperround" in house.get("/")
    assert house.get("/readyz") == b"ready\n"

    # A real Celery worker over the embedded broker carries the confirmation mail.
    form = b"email=ada%40example.org&timezone=UTC&every_day=yes"
    urllib.request.urlopen(f"http://127.0.0.1:{house.port}/subscribe", form, timeout=10).close()
    house.until(lambda: len(house.mailbox()) == 2)
    assert house.mailbox()[0]["to"] == "ada@example.org"

    # A second `up` on the port or the folder is a clear error.
    second = subprocess.run(
        [sys.executable, "-m", "service.cli", "up"],
        env=house.environment | {"PAPERROUND_HOME": str(house.home) + "2"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert f"port {house.port}" in second.stderr
    assert f"PAPERROUND_PORT={house.port + 1}" in second.stderr
    second = subprocess.run(
        [sys.executable, "-m", "service.cli", "up"],
        env=house.environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert second.returncode == 2
    assert "another `paperround up`" in second.stderr

    children = house.children()
    assert len(children) == 4
    assert house.close() == 0
    assert gone(children)
    assert not (house.home / "postgres" / "postmaster.pid").exists()

    house.open()
    assert len(house.mailbox()) == 2, "it continues, and mails nobody twice"
    with pytest.raises(urllib.error.HTTPError):
        house.get("/nowhere")


def test_killed_children_and_a_killed_house_come_back(house: House) -> None:
    house.open()
    for child in house.children():
        child.kill()
    postmaster = psutil.Process(int((house.home / "postgres" / "postmaster.pid").read_text().splitlines()[0]))
    postmaster.kill()

    def well() -> bool:
        try:
            return house.get("/readyz") == b"ready\n" and len(house.mailbox()) == 1
        except OSError:
            return False

    house.until(well)
    assert "starting it again" in house.said()

    orphans = house.children()
    assert house.process is not None
    house.process.kill()
    house.process.wait()
    house.process = None
    house.open()
    assert gone(orphans)
    assert well()
