"""What the doctor says of signatures, with a DNS of our own making."""

from __future__ import annotations

from pathlib import Path

import dns.resolver
import dns.rrset
import pytest

from service import doctor
from service.delivery import dkim
from service.doctor import Verdict
from service.settings import Settings


@pytest.fixture
def signing(settings: Settings, tmp_path: Path) -> Settings:
    dkim.make_key(tmp_path / "dkim.pem")
    return settings.model_copy(update={"dkim_key_file": tmp_path / "dkim.pem"})


def published(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    def resolve(name: str, kind: str, **_: object) -> dns.rrset.RRset:
        if value is None:
            raise dns.resolver.NXDOMAIN
        strings = " ".join(f'"{value[at : at + 200]}"' for at in range(0, len(value), 200))
        return dns.rrset.from_text(name, 60, "IN", kind, strings)

    monkeypatch.setattr(dns.resolver, "resolve", resolve)


def test_a_published_key_is_found(signing: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    signer = dkim.configured(signing)
    assert signer is not None
    published(monkeypatch, signer.records[0].value)
    (finding,) = doctor.signatures(signing)
    assert finding.verdict is Verdict.OK
    assert "paperround._domainkey.papers.example" in finding.detail


@pytest.mark.parametrize(("value", "seen"), [(None, "holds no key"), ("v=DKIM1; p=AAAA", "holds another key")])
def test_a_key_that_nobody_finds_is_a_failure(
    signing: Settings, monkeypatch: pytest.MonkeyPatch, value: str | None, seen: str
) -> None:
    published(monkeypatch, value)
    (finding,) = doctor.signatures(signing)
    assert finding.verdict is Verdict.FAILURE
    assert seen in finding.detail
    assert "paperround dkim" in finding.detail


def test_unsigned_mail_is_a_warning_and_an_unreadable_key_a_failure(settings: Settings) -> None:
    (finding,) = doctor.signatures(settings)
    assert finding.verdict is Verdict.WARNING
    (finding,) = doctor.signatures(settings.model_copy(update={"dkim_key_file": Path("/nowhere.pem")}))
    assert finding.verdict is Verdict.FAILURE
