"""The doctor opens a relay as the sender does, over real SMTP and TLS, and sends no mail."""

from __future__ import annotations

from pathlib import Path

from service.doctor import relays
from service.doctor.findings import Finding, Verdict
from service.settings import Settings
from tests.delivery.certificates import server_certificate
from tests.delivery.servers import aiosmtpd, sink


def tried(settings: Settings, url: str) -> Finding:
    (finding,) = relays.relays(settings.model_copy(update={"smtp_url": url}))
    return finding


def test_greeting_encryption_and_login_are_tried_and_no_mail_is_sent(settings: Settings, tmp_path: Path) -> None:
    context, authority = server_certificate(tmp_path)
    with aiosmtpd(tls=context, login=("paperround", "secret")) as kept:
        url = f"smtp://paperround:{{}}@127.0.0.1:{kept.port}?tls=required&ca={{}}"
        finding = tried(settings, url.format("secret", authority))
        assert finding.verdict is Verdict.OK
        assert "certificate holds, takes the login of paperround" in finding.detail
        wrong = tried(settings, url.format("wrong", authority))
        assert wrong.verdict is Verdict.WARNING
        assert "check user and password" in wrong.detail
        assert "secret" not in finding.detail + wrong.detail
        stranger = tried(settings, f"smtp://paperround:secret@127.0.0.1:{kept.port}?tls=required")
        assert stranger.verdict is Verdict.WARNING
        assert "does not hold" in stranger.detail
    assert kept.mails == []


def test_the_relay_hears_goodbye_and_nothing_of_mail(settings: Settings) -> None:
    with sink() as server:
        finding = tried(settings, f"smtp://127.0.0.1:{server.port}")
    assert finding.verdict is Verdict.OK
    assert [command.split()[0] for command in server.commands] == ["EHLO", "QUIT"]


def test_a_relay_that_is_away_or_unwilling_is_a_warning_with_the_remedy(settings: Settings) -> None:
    away = tried(settings, "smtp://127.0.0.1:9")
    assert away.verdict is Verdict.WARNING
    assert "check PAPERROUND_SMTP_URL" in away.detail
    with sink(connect="554 5.7.1 Not you") as server:
        unwilling = tried(settings, f"smtp://127.0.0.1:{server.port}")
    assert unwilling.verdict is Verdict.WARNING
    assert "turns us away" in unwilling.detail
