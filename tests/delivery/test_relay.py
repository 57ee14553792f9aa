"""Which relay the settings mean."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.delivery import relay
from service.delivery.relay import Relay, RelayDown, Tls
from service.delivery.throttle import Rate
from service.settings import Settings


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail.example", Relay("mail.example", 25, Tls.OFFERED)),
        ("smtp://mail.example:2525?tls=off", Relay("mail.example", 2525, Tls.OFF)),
        ("smtp://mail.example?tls=required", Relay("mail.example", 25, Tls.REQUIRED)),
        ("smtp://u%40x:p%2F%3A@mail.example", Relay("mail.example", 587, Tls.REQUIRED, "u@x", "p/:")),
        ("smtps://u:p@mail.example", Relay("mail.example", 465, Tls.IMPLICIT, "u", "p")),
        ("smtp://127.0.0.1:1025", Relay("127.0.0.1", 1025, Tls.OFF)),
        ("smtp://u:p@localhost:1025", Relay("localhost", 1025, Tls.OFF, "u", "p")),
        ("smtp://[::1]:1025", Relay("::1", 1025, Tls.OFF)),
        (
            "smtp://m.example?weight=3&connections=20&messages=100&rate=14/second&rate=50000/day",
            Relay(
                "m.example",
                25,
                Tls.OFFERED,
                weight=3,
                connections=20,
                messages_per_connection=100,
                rates=(Rate(14, 1), Rate(50_000, 86_400)),
            ),
        ),
        ("smtp://127.0.0.1?tls=required", Relay("127.0.0.1", 25, Tls.REQUIRED)),
    ],
)
def test_urls_of_relays(url: str, expected: Relay) -> None:
    assert relay.parse(url) == expected


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("http://mail.example", "must look like"),
        ("smtp://", "must look like"),
        ("smtp://mail.example:99999", "port"),
        ("smtp://mail.example:x", "port"),
        ("smtp://user@mail.example", "go together"),
        ("smtp://mail.example?tls=maybe", "required, offered or off"),
        ("smtps://mail.example?tls=off", "always encrypted"),
        ("smtp://mail.example?verify=no", "no option verify="),
        ("smtps://mail.example?ca=/nowhere.pem", "no file"),
        ("smtps://mail.example?weight=0", "weight= must be a number"),
        ("smtps://mail.example?connections=many", "connections= must be a number"),
        ("smtps://mail.example?rate=fast", "14/second"),
        ("smtps://mail.example?rate=1/day&rate=2/day", "two rates for the same period"),
        ("smtp://u:hunter2@mail.example?tls=off", "never sent in clear text"),
        ("smtp://u:hunter2@mail.example?tls=offered", "never sent in clear text"),
    ],
)
def test_unusable_urls_name_the_remedy_and_not_the_password(url: str, remedy: str) -> None:
    with pytest.raises(RelayDown, match=remedy) as caught:
        relay.parse(url)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_private_authority(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("")
    assert relay.parse(f"smtps://mail.example?ca={tmp_path}/ca.pem").ca_file == tmp_path / "ca.pem"


def test_the_password_is_not_in_the_repr() -> None:
    assert "hunter2" not in repr(relay.parse("smtps://u:hunter2@mail.example"))


def test_without_a_relay_in_production(settings: Settings) -> None:
    with pytest.raises(RelayDown, match="PAPERROUND_SMTP_URL"):
        relay.configured(settings.model_copy(update={"smtp_url": None}))


def test_without_a_relay_and_without_the_local_mailbox(tmp_path: Path) -> None:
    with pytest.raises(RelayDown, match="start it with `paperround up`"):
        relay.configured(Settings(home=tmp_path, database_url=None, smtp_url=None))


def test_several_relays_stand_side_by_side(settings: Settings) -> None:
    urls = "smtp://a.example?weight=2\n  smtps://u:p@b.example"
    found = relay.configured(settings.model_copy(update={"smtp_url": urls}))
    assert [(each.host, each.port, each.weight) for each in found] == [("a.example", 25, 2), ("b.example", 465, 1)]
    with pytest.raises(RelayDown, match="one relay twice"):
        relay.configured(settings.model_copy(update={"smtp_url": "smtp://a.example smtp://a.example"}))
