from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from service.settings import Settings, SettingsError, load


@pytest.fixture(autouse=True)
def only_these_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PAPERROUND_HOME", str(tmp_path / "home"))


def test_embedded_mode_makes_one_secret_even_when_many_start_at_once_and_only_the_owner_can_read_it(
    tmp_path: Path,
) -> None:
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: load().signing_key, range(32)))
    assert len(keys) == 1
    secret = tmp_path / "home" / "secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert [path.name for path in secret.parent.iterdir()] == ["secret"]


def test_production_without_a_secret_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_DATABASE_URL", "postgresql://db.example/paperround")
    with pytest.raises(SettingsError, match=r"PAPERROUND_SECRET is missing.*openssl rand -hex 32"):
        load().check_production()


def test_a_short_secret_is_refused_without_repeating_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_SECRET", "hunter2")
    with pytest.raises(SettingsError, match="too short") as caught:
        _ = load().signing_key
    assert "hunter2" not in str(caught.value)


def test_production_without_a_relay_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_DATABASE_URL", "postgresql://db.example/paperround")
    monkeypatch.setenv("PAPERROUND_SECRET", "x" * 32)
    with pytest.raises(SettingsError, match="PAPERROUND_SMTP_URL is missing"):
        load().check_production()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "99999"),
        ("PORT", "eighty"),
        ("DATABASE_URL", "mysql://user:password@host/db"),
        ("SMTP_URL", "mail.example"),
        ("SITE_URL", "papers.example"),
        ("FROM", "nobody"),
        ("FROM", "A <a@b.example>\r\nBcc: x@y.example"),
        ("UNCERTAIN", "perhaps"),
    ],
)
def test_an_unusable_value_is_one_line_that_names_the_variable_and_keeps_the_value_to_itself(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"PAPERROUND_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load()
    line = str(caught.value)
    assert line.startswith(f"PAPERROUND_{name} is not usable: ")
    assert "\n" not in line
    assert "password" not in line.replace("user:password@host:587", "")


def test_links_point_to_the_port_unless_a_site_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_PORT", "8123")
    assert load().origin == "http://localhost:8123"
    monkeypatch.setenv("PAPERROUND_SITE_URL", "https://papers.example/")
    assert load().origin == "https://papers.example"


def test_settings_can_key_a_cache() -> None:
    assert len({load(), load()}) == 1
    assert isinstance(load(), Settings)
