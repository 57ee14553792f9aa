"""What receivers learn about us from the DNS: SPF, DMARC, reverse names, where bounces go, and our DKIM keys."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from typing import Any, Final

import dns.exception
import dns.resolver
import dns.reversename

from service.delivery import dkim, relay
from service.doctor.findings import Finding, Verdict
from service.settings import Settings, SettingsError

_SECONDS: Final = 5.0
_NOWHERE: Final = frozenset({"example", "invalid", "internal", "local", "localhost", "test"})
"""Last labels that no public DNS answers for (RFC 6761, 6762)."""


class Unanswered(Exception):
    """The DNS gave no answer, neither records nor their absence. One word on why."""


def names(settings: Settings) -> Iterator[Finding]:
    """All that the public DNS must say about the domains in use. Asks the DNS."""
    if settings.smtp_url is None:
        return
    domain = settings.mail_domain
    if domain.rpartition(".")[2] in _NOWHERE:
        remedy = f"{domain} is not a domain of the public DNS: set PAPERROUND_FROM to an address at your own domain"
        yield Finding("sender domain", Verdict.WARNING, remedy)
        return
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("SPF", lambda: spf(settings.return_domain or domain)),
        ("DMARC", lambda: dmarc(domain)),
        ("MX", lambda: mail_exchange(settings)),
    )
    for name, check in checks:
        try:
            yield check()
        except Unanswered as error:
            yield _unanswered(name, error)
    yield from reverse_names(settings)


def spf(domain: str) -> Finding:
    """RFC 7208: exactly one record at the domain of the envelope sender, that does not let everybody in."""
    records = [each for each in _texts(domain) if each.lower().split(" ")[0] == "v=spf1"]
    if not records:
        remedy = (
            f"{domain} has no SPF record: publish a TXT record like `v=spf1 include:<your relay's SPF domain> -all`"
        )
        return Finding("SPF", Verdict.WARNING, remedy)
    if len(records) > 1:
        remedy = f"{domain} has {len(records)} SPF records, which counts as none (RFC 7208, 4.5): make them one"
        return Finding("SPF", Verdict.FAILURE, remedy)
    terms = records[0].lower().split()[1:]
    if any(term in ("all", "+all") for term in terms):
        remedy = f"the SPF record of {domain} lets every host send for it: end it with -all or ~all"
        return Finding("SPF", Verdict.FAILURE, remedy)
    if not any(term.endswith("all") or term.startswith("redirect=") for term in terms):
        remedy = f"the SPF record of {domain} says nothing of other hosts: end it with -all or ~all"
        return Finding("SPF", Verdict.WARNING, remedy)
    return Finding("SPF", Verdict.OK, f"{domain}: {records[0]}; whether it names your relay's hosts, only they know")


def dmarc(domain: str) -> Finding:
    """RFC 7489: a policy at the domain of the From, or at one above it."""
    labels = domain.split(".")
    for above in range(len(labels) - 1):
        place = ".".join(labels[above:])
        records = [each for each in _texts(f"_dmarc.{place}") if each.replace(" ", "").lower().startswith("v=dmarc1")]
        if len(records) > 1:
            remedy = f"_dmarc.{place} has {len(records)} records, which counts as none (RFC 7489, 6.6.3): make them one"
            return Finding("DMARC", Verdict.FAILURE, remedy)
        if records:
            tags = dict(part.strip().partition("=")[::2] for part in records[0].split(";") if "=" in part)
            policy = tags.get("p", "").strip().lower()
            if policy not in ("none", "quarantine", "reject"):
                remedy = f"_dmarc.{place} names no policy: publish `v=DMARC1; p=none` or stricter"
                return Finding("DMARC", Verdict.FAILURE, remedy)
            return Finding("DMARC", Verdict.OK, f"policy {policy} at _dmarc.{place}")
    remedy = (
        f"{domain} has no DMARC record, which large providers ask of bulk senders: publish the TXT record"
        f" `v=DMARC1; p=none` at _dmarc.{domain}, and make it stricter when all mail passes"
    )
    return Finding("DMARC", Verdict.WARNING, remedy)


def mail_exchange(settings: Settings) -> Finding:
    """RFC 5321, 5.1 and RFC 7505: bounces and answers find a host."""
    domain = settings.return_domain or settings.mail_domain
    which = "bounces and unsubscribe requests" if settings.return_domain else "bounces and answers"
    hosts = sorted((answer.preference, str(answer.exchange).rstrip(".")) for answer in _records(domain, "MX"))
    if hosts and all(not host for _, host in hosts):
        remedy = f"{domain} takes no mail (a null MX, RFC 7505): {which} are lost, and some servers refuse such senders"
        return Finding("MX", Verdict.FAILURE, f"{remedy}; publish an MX record")
    if hosts:
        return Finding("MX", Verdict.OK, f"{which} to {domain} go to {', '.join(host for _, host in hosts)}")
    if _records(domain, "A") or _records(domain, "AAAA"):
        remedy = f"{domain} has an address and no MX record: publish one that names the host which takes its mail"
        return Finding("MX", Verdict.WARNING, remedy)
    remedy = f"nothing takes mail for {domain}: publish an MX record, or {which} are lost"
    return Finding("MX", Verdict.FAILURE, remedy)


def reverse_names(settings: Settings) -> Iterator[Finding]:
    """Whether the addresses of our relays have names that lead back to them (RFC 1912, 2.1).

    Which address a relay sends from only the relay knows; a host of one's own usually uses the one it listens on.
    """
    try:
        targets = relay.configured(settings)
    except relay.RelayDown:
        return
    for target in targets:
        try:
            addresses = [*_addresses(target.host)]
            public = [each for each in addresses if each.is_global]
            if not public:
                seen = f"{target.host} is inside this network: see that the address it sends from has a name"
                yield Finding("PTR", Verdict.OK, seen)
            for address in public:
                yield _reverse_name(target.host, address)
        except Unanswered as error:
            yield _unanswered("PTR", error)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _reverse_name(host: str, address: Address) -> Finding:
    found = [str(each.target).rstrip(".") for each in _records(str(dns.reversename.from_address(str(address))), "PTR")]
    if not found:
        remedy = f"{address} ({host}) has no name (PTR): if mail leaves from there, have its network's owner set one"
        return Finding("PTR", Verdict.WARNING, remedy)
    if not any(address in _addresses(name) for name in found):
        remedy = f"{address} ({host}) is called {found[0]}, which does not lead back to it: set the A or AAAA record"
        return Finding("PTR", Verdict.WARNING, remedy)
    return Finding("PTR", Verdict.OK, f"{address} ({host}) is called {found[0]}")


def signatures(settings: Settings) -> Iterator[Finding]:
    """Whether mail is signed, and whether receivers find the keys. Asks the DNS."""
    try:
        signer = dkim.configured(settings)
    except SettingsError as error:
        yield Finding("signatures", Verdict.FAILURE, f"{error}; until then no mail leaves")
        return
    if signer is None:
        if settings.smtp_url is not None:
            remedy = (
                "mail is not signed here: make sure that the relay signs it for your domain, or see `paperround dkim`"
            )
            yield Finding("signatures", Verdict.WARNING, remedy)
        return
    yield from (_published(record) for record in signer.records)


def _published(record: dkim.Record) -> Finding:
    """Whether receivers find the key that we sign with."""
    why = ""
    try:
        found = set(_texts(record.name))
    except Unanswered as error:
        found, why = set(), f" ({error})"
    key = record.value.rpartition("p=")[2]
    if any("".join(value.split()).rpartition("p=")[2].partition(";")[0] == key for value in found):
        return Finding("signatures", Verdict.OK, f"the DNS holds our key at {record.name}")
    seen = "holds another key" if found else f"holds no key{why}"
    return Finding(
        "signatures", Verdict.FAILURE, f"the DNS {seen} at {record.name}: publish what `paperround dkim` shows"
    )


def _unanswered(check: str, error: Unanswered) -> Finding:
    return Finding(check, Verdict.WARNING, f"the DNS does not answer ({error}): check this machine's resolver")


def _addresses(host: str) -> list[Address]:
    try:
        return [ipaddress.ip_address(host)]
    except ValueError:
        if host == "localhost":
            return []
        found = [*_records(host, "A"), *_records(host, "AAAA")]
        return [ipaddress.ip_address(each.address) for each in found]


def _texts(name: str) -> list[str]:
    return [b"".join(each.strings).decode("utf-8", "replace") for each in _records(name, "TXT")]


def _records(name: str, kind: str) -> list[Any]:  # each kind of record has attributes of its own
    """The records, none where the DNS says that there are none. Raises :class:`Unanswered`."""
    try:
        return list(dns.resolver.resolve(f"{name.rstrip('.')}.", kind, lifetime=_SECONDS))
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except dns.exception.DNSException as error:
        raise Unanswered(type(error).__name__) from None
