"""Is this installation fit to mail anybody? Each check says what it saw and, where something is amiss, the remedy."""

from __future__ import annotations

import platform
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import redis
from sqlalchemy import Label, func, label, select, text
from sqlalchemy.exc import SQLAlchemyError

from service import __version__
from service.database import Database, DatabaseError, migrations, months
from service.database.tables import Delivery, DeliveryState, Ingest, ReturnKind
from service.doctor import names, outside, relays
from service.doctor.findings import Finding, Verdict
from service.doctor.names import signatures
from service.operators import accounts, rotation
from service.outbox import digest_pause, pause
from service.papers import coverage
from service.settings import Settings, SettingsError
from service.subscribers import hash_key, returned
from service.subscribers.tokens import LONGEST_LIFETIME

__all__ = ["Finding", "Verdict", "examine", "operators", "secrets", "signatures"]

_LOW_DISK_BYTES = 1 << 30
_FEW_RETURNS = 3
"""Refusals or complaints in a day that prove nothing."""
_REFUSALS_BORNE = 0.02
_COMPLAINTS_BORNE = 0.003
_STALE = timedelta(hours=26)
"""A source not read for longer than this has missed a day."""
_LOOKED_AT = 10_000
"""Deliveries, the newest first."""
_USUAL_FAILURES = 0.05
"""A share of failures that dead addresses and full mailboxes explain."""
_CODES = re.compile(r"\b[45][0-9]{2}( [45]\.[0-9]{1,3}\.[0-9]{1,3})?\b")
_LONG_PAUSE = timedelta(hours=1)
"""A relay that is down longer than for a restart or a short trouble wants a person."""


def examine(settings: Settings) -> Iterator[Finding]:
    """Run every check that can be run; later ones are left out where an earlier one makes them impossible."""
    yield _settings(settings)
    yield _site(settings)
    yield _disk(settings)
    yield _broker(settings)
    yield _versions()
    yield from relays.relays(settings)
    yield from signatures(settings)
    try:
        database = Database.open(settings)
    except DatabaseError as error:
        yield Finding("database", Verdict.FAILURE, str(error))
    else:
        with database:
            yield from _database(database, settings)
    yield from names.names(settings)
    yield from outside.site(settings)
    yield from outside.clock(settings)


def _settings(settings: Settings) -> Finding:
    try:
        settings.check_production()
    except SettingsError as error:
        return Finding("settings", Verdict.FAILURE, str(error))
    mode = "embedded" if settings.embedded else "production"
    if not settings.embedded and not settings.postal_address:
        remedy = "set PAPERROUND_POSTAL_ADDRESS: most countries require one in the footer of such mail"
        return Finding("settings", Verdict.WARNING, remedy)
    return Finding("settings", Verdict.OK, f"{mode} mode, mail from {settings.mail_domain}")


def _site(settings: Settings) -> Finding:
    if settings.embedded or urlsplit(settings.origin).scheme == "https":
        return Finding("site address", Verdict.OK, settings.origin)
    return Finding(
        "site address",
        Verdict.WARNING,
        f"{settings.origin} is not https: one-click unsubscribe (RFC 8058) needs it; set PAPERROUND_SITE_URL",
    )


def _versions() -> Finding:
    return Finding("versions", Verdict.OK, f"Paperround {__version__}, Python {platform.python_version()}")


def _disk(settings: Settings) -> Finding:
    folder = settings.home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    seen = f"{free / (1 << 30):.1f} GiB free at {settings.home}"
    if free < _LOW_DISK_BYTES:
        return Finding("disk", Verdict.FAILURE, f"{seen}: make room, or set PAPERROUND_HOME to another disk")
    return Finding("disk", Verdict.OK, seen)


def _broker(settings: Settings) -> Finding:
    if settings.broker_url is None:
        return Finding("broker", Verdict.OK, "files in the data folder")
    try:
        redis.Redis.from_url(settings.broker_url, socket_timeout=3, socket_connect_timeout=3).ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return Finding(
            "broker",
            Verdict.FAILURE,
            f"no answer ({type(error).__name__}): check PAPERROUND_BROKER_URL; digests wait until it answers",
        )
    return Finding("broker", Verdict.OK, "Redis answers")


def _database(database: Database, settings: Settings) -> Iterator[Finding]:
    with database.connection() as connection:
        version = str(connection.scalar(text("SHOW server_version")))
        ours, theirs = datetime.now(UTC), connection.execute(text("SELECT clock_timestamp()")).scalar_one()
        at = migrations.current(connection)
    yield Finding("database", Verdict.OK, f"PostgreSQL {version}")
    yield outside.database_clock(ours, theirs)
    if waiting := migrations.pending(database):
        yield Finding("migrations", Verdict.FAILURE, f"{len(waiting)} not applied: run `paperround migrate`")
        return
    if migrations.known(at):
        yield Finding("migrations", Verdict.OK, "all applied")
    else:
        remedy = f"the database is at {at}, which a newer version made: bring this machine to that version"
        yield Finding("migrations", Verdict.WARNING, remedy)
    try:
        yield from secrets(database, settings)
        hash_key.bind(database, settings)
    except SettingsError as error:
        yield Finding("secrets", Verdict.FAILURE, str(error))
        return
    checks: tuple[Callable[[Database, Settings], Iterator[Finding]], ...] = (
        _months,
        _sources,
        _coverage,
        _outbox,
        _sending,
        _refusals,
        _returns,
        operators,
    )
    for check in checks:
        try:
            yield from check(database, settings)
        except SQLAlchemyError as error:
            yield Finding(check.__name__.strip("_"), Verdict.FAILURE, f"{type(error).__name__}: see the database's log")


def _months(database: Database, _: Settings) -> Iterator[Finding]:
    """Whether mail can be put in when the next month begins."""
    wanted = months.month_of(datetime.now(UTC)) + 1
    with database.connection() as connection:
        held = months.held(connection)
    if any(each.end == wanted + 1 or (each.before and each.end > wanted) for each in held):
        yield Finding("months", Verdict.OK, f"{months.beginning(wanted):%B %Y} can come")
    else:
        remedy = "run `paperround migrate`, and see that a worker for housekeeping runs"
        yield Finding("months", Verdict.FAILURE, f"{months.beginning(wanted):%B %Y} is not made for mail: {remedy}")


def _sources(database: Database, _: Settings) -> Iterator[Finding]:
    read_to_end: Label[datetime | None] = label(
        "read_to_end", func.max(Ingest.finished_at).filter(Ingest.error.is_(None))
    )
    newest = select(Ingest.source, read_to_end).group_by(Ingest.source).order_by(Ingest.source)
    with database.transaction() as session:
        rows = session.execute(newest).all()
    if not rows:
        yield Finding("sources", Verdict.WARNING, "nothing read yet: run `paperround ingest`")
    for source, finished_at in rows:
        if finished_at is None or datetime.now(UTC) - finished_at > _STALE:
            when = f"last read {finished_at:%Y-%m-%d %H:%M} UTC" if finished_at else "never read to its end"
            yield Finding(f"source {source}", Verdict.WARNING, f"{when}: run `paperround ingest` and see what it says")
        else:
            yield Finding(f"source {source}", Verdict.OK, f"read {finished_at:%Y-%m-%d %H:%M} UTC")


def _coverage(database: Database, settings: Settings) -> Iterator[Finding]:
    with database.transaction() as session:
        overdue = coverage.overdue(session, settings.look_back_days)
    if not overdue:
        yield Finding("coverage", Verdict.OK, "no day is overdue")
    for late in overdue:
        days = f"{len(late.days)} day{'s' if len(late.days) != 1 else ''} not complete, since {late.days[0]}"
        why = f" ({late.error})" if late.error else ""
        yield Finding(f"coverage {late.source}", Verdict.WARNING, f"{days}{why}: see `paperround coverage`")


def _sending(database: Database, _: Settings) -> Iterator[Finding]:
    """Whether a relay that takes nobody's mail holds all of it back."""
    with database.transaction() as session:
        paused = digest_pause.current(session)
    if paused is not None:
        yield Finding(
            "digests",
            Verdict.WARNING,
            f"an operator has paused all digests since {paused.since:%Y-%m-%d %H:%M} UTC: resume them at /admin",
        )
    found = pause.current(database)
    if found is None:
        yield Finding("sending", Verdict.OK, "no pause")
        return
    verdict = Verdict.FAILURE if datetime.now(UTC) - found.since > _LONG_PAUSE else Verdict.WARNING
    yield Finding(
        "sending",
        verdict,
        f"paused since {found.since:%Y-%m-%d %H:%M} UTC, {found.tries} tries in vain, the next at"
        f" {found.until:%H:%M:%S}: {found.reason}; what is due waits, and at its deadline comes with the next digest",
    )


def _refusals(database: Database, _: Settings) -> Iterator[Finding]:
    """Whether relays have lately refused more for good than dead addresses explain: then it is our content or name."""
    lately = (
        select(Delivery.state, Delivery.reply)
        .where(Delivery.settled_at > datetime.now(UTC) - timedelta(days=1))
        .where(Delivery.state.in_([DeliveryState.SENT, DeliveryState.FAILED]))
        .order_by(Delivery.id.desc())
        .limit(_LOOKED_AT)
    )
    with database.transaction() as session:
        rows = session.execute(lately).all()
    # The codes alone: the words behind them often repeat the address.
    codes = Counter(_codes(reply) for state, reply in rows if state == DeliveryState.FAILED)
    seen = f"{codes.total()} of the last day's {len(rows)} failed"
    if codes.total() <= max(len(rows) * _USUAL_FAILURES, 5):
        yield Finding("refusals", Verdict.OK, seen)
        return
    code, times = codes.most_common(1)[0]
    yield Finding(
        "refusals",
        Verdict.WARNING,
        f"{seen}, {times} by {code}: 5.1.x means old addresses, 5.7.x that our mail or name is not trusted (see"
        " `paperround dkim`), 4.x.x a relay that put it off until the deadline",
    )


def _codes(reply: str | None) -> str:
    match = _CODES.search(reply or "")
    return match[0] if match else "no answer"


def _outbox(database: Database, _: Settings) -> Iterator[Finding]:
    waiting = select(func.count(), func.min(Delivery.due_at)).where(
        Delivery.state.in_([DeliveryState.QUEUED, DeliveryState.DEFERRED])
    )
    with database.transaction() as session:
        count, oldest = session.execute(waiting).one()
    if count and datetime.now(UTC) - oldest > timedelta(hours=1):
        remedy = "check the relay, and that a worker for the queue `send` runs"
        yield Finding("outbox", Verdict.WARNING, f"{count} waiting, some for over an hour: {remedy}")
    else:
        yield Finding("outbox", Verdict.OK, f"{count} waiting")


def _returns(database: Database, _settings: Settings) -> Iterator[Finding]:
    since = datetime.now(UTC) - timedelta(days=1)
    sent_since = select(func.count()).where(Delivery.state == DeliveryState.SENT, Delivery.settled_at >= since)
    with database.transaction() as session:
        counts = returned.counts(session, since)
        sent = session.scalars(sent_since).one()
    refusals, complaints = counts.get(ReturnKind.REFUSAL, 0), counts.get(ReturnKind.COMPLAINT, 0)
    seen = ", ".join(f"{number} {kind}" for kind, number in sorted(counts.items())) or "nothing"
    seen = f"{seen} came back in a day, {sent} sent"
    if refusals >= _FEW_RETURNS and refusals > sent * _REFUSALS_BORNE:
        remedy = "servers refuse our name or content; read `paperround readers show` of one, check SPF, DKIM and DMARC"
        yield Finding("returns", Verdict.WARNING, f"{seen}: {remedy}")
    elif complaints >= _FEW_RETURNS and complaints > sent * _COMPLAINTS_BORNE:
        remedy = "above 0.3 % large providers put everything into spam; see who was subscribed, and how"
        yield Finding("returns", Verdict.WARNING, f"{seen}: {remedy}")
    else:
        yield Finding("returns", Verdict.OK, seen)


def secrets(database: Database, settings: Settings) -> Iterator[Finding]:
    """What of the database needs which secret: when an old one can go. Secrets are named by their place alone.

    Raises :class:`SettingsError` where none of them is the database's.
    """
    with database.transaction() as session:
        found = rotation.state(session, settings)
    if found.unopened:
        remedy = "`paperround operators reset-totp ADDRESS`, or list that secret in PAPERROUND_OLD_SECRETS"
        yield Finding(
            "secrets",
            Verdict.WARNING,
            f"{found.unopened} operators' apps are sealed under a secret that is not listed: {remedy}",
        )
    old = len(settings.verifying_keys) - 1
    if not old:
        yield Finding("secrets", Verdict.OK, f"one, and under it the key of suppressions and {found.apps[0]} apps")
    for age in range(1, old + 1):
        name = f"old secret {age} of {old}"
        seals = ["the key of suppressions"] if found.hash_key == age else []
        seals += [f"{found.apps[age]} operators' apps"] if found.apps[age] else []
        if seals:
            remedy = "`paperround secret reseal`, once every process knows the new one"
            yield Finding(name, Verdict.WARNING, f"still needed by {' and '.join(seals)}: {remedy}")
            continue
        links = "links of mails from before the change, of which those to unsubscribe and personal feeds never end"
        if found.since is not None:
            over = found.since + LONGEST_LIFETIME
            past = over <= datetime.now(UTC)
            links = (
                f"links to unsubscribe in mails of before {found.since:%Y-%m-%d}, and personal feeds of then"
                if past
                else f"{links}, and the others by {over:%Y-%m-%d}"
            )
        yield Finding(name, Verdict.OK, f"seals nothing; still needed by {links}: `paperround secret forget` drops it")


def operators(database: Database, settings: Settings) -> Iterator[Finding]:
    """Whether links to sign in reach the operators: by id, since a report may be passed on."""
    with database.transaction() as session:
        found = accounts.listing(session, settings)
    out = [each for each in found if each.came_back is not None or each.suppressed]
    if not out:
        yield Finding("operators", Verdict.OK, f"{len(found)}, no mail to them came back")
    for each in out:
        back = each.came_back
        seen = (
            f"mail came back ({back.kind} {back.code}, {back.at:%Y-%m-%d %H:%M} UTC)"
            if back
            else "no mail goes to them"
        )
        lift = ", and `paperround suppressions lift ADDRESS` once it works again" if each.suppressed else ""
        yield Finding(
            f"operator {each.id}",
            Verdict.WARNING,
            f"{seen}: `paperround operators link ADDRESS` prints a link to sign in{lift}",
        )
