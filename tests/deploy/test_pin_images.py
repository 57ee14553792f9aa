"""Tags become digests, all or none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from deploy import pin_images

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "a1" * 32


@pytest.fixture
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files, and a docker that knows every image but those of which its script says otherwise."""
    for name in pin_images.FILES:
        (tmp_path / name).write_text((ROOT / name).read_text())
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\ncase "$6" in "$REFUSED"*) echo "no such image" >&2; exit 1;; esac\necho {DIGEST}\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("REFUSED", "nothing")
    return tmp_path


def test_every_image_of_others_is_pinned_and_pinned_again(copies: Path) -> None:
    pin_images.main(copies)
    once = {name: (copies / name).read_text() for name in pin_images.FILES}
    pin_images.main(copies)

    assert once == {name: (copies / name).read_text() for name in pin_images.FILES}
    assert once["Dockerfile"].count(f"FROM python:3.13-slim-bookworm@{DIGEST}") == 2
    named = [line.split()[1] for line in once["docker-compose.yml"].splitlines() if line.strip().startswith("image:")]
    assert [each for each in named if "@" not in each] == ["paperround:local"]
    assert len(named) >= 4


def test_nothing_is_written_where_one_cannot_be_resolved(copies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSED", "redis")
    before = {name: (copies / name).read_text() for name in pin_images.FILES}

    with pytest.raises(SystemExit, match="redis:8-alpine cannot be resolved: no such image"):
        pin_images.main(copies)

    assert before == {name: (copies / name).read_text() for name in pin_images.FILES}


def test_a_machine_without_docker_is_told_so(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "deploy" / "pin_images.py")]
    done = subprocess.run(command, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == "docker cannot be run (No such file or directory): install it, with buildx\n"
