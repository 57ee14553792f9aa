"""What the doctor makes of the DNS; only the far end, the resolver, is of our own making."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dns.resolver
import dns.rrset
import pytest

from service.doctor import names
from service.doctor.findings import Finding, Verdict
from service.settings import Settings

Zone = Mapping[tuple[str, str], list[str]]
Publish = Callable[[Zone], None]
GOOD: Zone = {
    ("papers.example.org", "TXT"): ['"unrelated"', '"v=spf1 include:relay.example.net " "-all"'],
    ("_dmarc.example.org", "TXT"): ['"v=DMARC1; p=quarantine"'],
    ("papers.example.org", "MX"): ["10 mx.example.org."],
    ("relay.example.net", "A"): ["8.8.8.8"],
    ("8.8.8.8.in-addr.arpa", "PTR"): ["out.example.net."],
    ("out.example.net", "A"): ["8.8.8.8"],
}


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    def use(zone: Zone) -> None:
        def resolve(name: str, kind: str, **_: object) -> dns.rrset.RRset:
            found = zone.get((name.rstrip("."), kind))
            if found is None:
                raise dns.resolver.NXDOMAIN
            return dns.rrset.from_text(name, 60, "IN", kind, *found)

        monkeypatch.setattr(dns.resolver, "resolve", resolve)

    return use


@pytest.fixture
def public(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"sender": "Paperround <digest@papers.example.org>", "smtp_url": "smtp://relay.example.net:25"}
    )


def found(settings: Settings) -> dict[str, Finding]:
    return {each.check: each for each in names.names(settings)}


def test_a_domain_in_order_is_found_so(public: Settings, publish: Publish) -> None:
    publish(GOOD)
    findings = found(public)
    assert {each.verdict for each in findings.values()} == {Verdict.OK}, findings
    assert "include:relay.example.net -all" in findings["SPF"].detail
    assert "quarantine at _dmarc.example.org" in findings["DMARC"].detail
    assert "mx.example.org" in findings["MX"].detail
    assert "out.example.net" in findings["PTR"].detail


@pytest.mark.parametrize(
    ("check", "key", "records", "verdict", "told"),
    [
        ("SPF", ("papers.example.org", "TXT"), None, Verdict.WARNING, "v=spf1 include:"),
        ("SPF", ("papers.example.org", "TXT"), ['"v=spf1 -all"', '"v=spf1 mx -all"'], Verdict.FAILURE, "make them one"),
        ("SPF", ("papers.example.org", "TXT"), ['"v=spf1 +all"'], Verdict.FAILURE, "every host"),
        ("SPF", ("papers.example.org", "TXT"), ['"v=spf1 mx"'], Verdict.WARNING, "-all or ~all"),
        ("SPF", ("papers.example.org", "TXT"), ['"v=spf10 -all"'], Verdict.WARNING, "no SPF record"),
        ("DMARC", ("_dmarc.example.org", "TXT"), None, Verdict.WARNING, "at _dmarc.papers.example.org"),
        ("DMARC", ("_dmarc.example.org", "TXT"), ['"v=DMARC1"'], Verdict.FAILURE, "names no policy"),
        (
            "DMARC", ("_dmarc.example.org", "TXT"), ['"v=DMARC1; p=none"', '"v=DMARC1; p=reject"'], Verdict.FAILURE,
            "make them one",
        ),
        ("MX", ("papers.example.org", "MX"), None, Verdict.FAILURE, "publish an MX record"),
        ("MX", ("papers.example.org", "MX"), ["0 ."], Verdict.FAILURE, "null MX"),
        ("PTR", ("8.8.8.8.in-addr.arpa", "PTR"), None, Verdict.WARNING, "has no name"),
        ("PTR", ("out.example.net", "A"), ["8.8.4.4"], Verdict.WARNING, "does not lead back"),
        ("PTR", ("relay.example.net", "A"), ["10.0.0.1"], Verdict.OK, "inside this network"),
    ],
)  # fmt: skip
def test_what_is_amiss_is_told_with_the_remedy(
    public: Settings, publish: Publish, check: str, key: tuple[str, str], records: list[str] | None, verdict: Verdict,
    told: str,
) -> None:  # fmt: skip
    changed = {name: value for name, value in GOOD.items() if name != key}
    publish(changed | ({key: records} if records is not None else {}))
    finding = found(public)[check]
    assert finding.verdict is verdict
    assert told in finding.detail


def test_the_return_domain_is_asked_where_one_is_set(public: Settings, publish: Publish) -> None:
    publish(GOOD)
    findings = found(public.model_copy(update={"return_domain": "back.example.org"}))
    assert "back.example.org" in findings["SPF"].detail
    assert findings["MX"].verdict is Verdict.FAILURE


def test_a_resolver_that_is_silent_is_not_an_absent_record(public: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise dns.resolver.NoNameservers

    monkeypatch.setattr(dns.resolver, "resolve", resolve)
    findings = found(public)
    assert {each.verdict for each in findings.values()} == {Verdict.WARNING}
    assert all("resolver" in each.detail for each in findings.values())


def test_a_domain_that_no_dns_knows_is_told_once_and_nothing_is_asked(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dns.resolver, "resolve", None)
    (finding,) = names.names(settings)
    assert "PAPERROUND_FROM" in finding.detail
    assert list(names.names(settings.model_copy(update={"database_url": None, "smtp_url": None}))) == []
