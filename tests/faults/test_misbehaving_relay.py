"""A relay that misbehaves at every stage of the conversation: nobody is lost, and nobody pays for another's trouble."""

from __future__ import annotations

import re
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.database import Database
from service.delivery import recovery
from service.delivery.sender import send_due
from service.settings import Settings
from tests.delivery.certificates import server_certificate
from tests.delivery.servers import USUAL, Act, Answer, Sink, aiosmtpd, every, sink, whenever
from tests.delivery.test_sender import PlainComposer, aimed, readers, row, states_of

READERS = 60
CONNECTIONS = 4


def send_until_settled(database: Database, target: Settings) -> None:
    """What the schedule does in some hours: sweeps and senders, time and again."""
    moment = datetime.now(UTC)
    for _ in range(20):
        recovery.sweep(database, target, now=moment)
        send_due(database, target, composer=PlainComposer(), now=moment, insist=True)
        if not {"queued", "deferred", "uncertain", "sending"} & set(states_of(database).values()):
            return
        moment += timedelta(hours=3)
    raise AssertionError(f"not settled: {states_of(database)}")


def message_ids(server: Sink) -> dict[str, list[str]]:
    """By recipient, of every message the server took."""
    found: dict[str, list[str]] = defaultdict(list)
    for recipient, content in server.accepted:
        match = re.search(rb"Message-ID: <([^>]+)>", content)
        assert match is not None
        found[recipient].append(match[1].decode())
    return found


@pytest.mark.parametrize(
    ("stage", "answer", "repeats"),
    [
        ("connect", "421 4.3.2 busy", False),
        ("connect", "554 5.7.1 not now", False),
        ("connect", Act.DROP, False),
        ("connect", Act.HALF, False),
        ("connect", Act.STALL, False),
        ("EHLO", "421 4.3.2 closing", False),
        ("EHLO", Act.DROP, False),
        ("EHLO", Act.HALF, False),
        ("MAIL", "451 4.3.0 later", False),
        ("MAIL", "421 4.3.2 closing", False),
        ("MAIL", Act.DROP, False),
        ("MAIL", Act.HALF, False),
        ("RCPT", "450 4.2.0 greylisted", False),  # and DATA is answered 354 all the same
        ("RCPT", "421 4.7.0 slow down", False),
        ("RCPT", Act.DROP, False),
        ("RCPT", Act.STALL, False),
        ("DATA", "451 4.3.0 later", False),
        ("DATA", "421 4.3.2 closing", False),
        ("DATA", Act.DROP, False),
        ("body", "452 4.3.1 disk full", False),
        ("body", "421 4.3.2 closing", False),
        ("body", Act.DROP, False),
        ("body", Act.HALF, False),
        ("body", Act.STALL, False),
        ("body", Act.KEEP, True),
    ],
)
def test_whatever_goes_wrong_everybody_gets_their_mail(
    database: Database, settings: Settings, stage: str, answer: Answer, repeats: bool
) -> None:
    readers(database, READERS)
    often = 2 if stage in ("connect", "EHLO") else 6
    with sink(**{stage: every(often, answer)}) as server:
        target = aimed(
            settings, server, send_connections=CONNECTIONS, smtp_timeout_seconds=0.4, send_batch=READERS // 2
        )
        send_until_settled(database, target)
    received = message_ids(server)
    assert set(received) == {f"reader{number}@example.org" for number in range(1, READERS + 1)}, "nobody is lost"
    twice = [ids for ids in received.values() if len(ids) > 1]
    assert bool(twice) == repeats
    assert all(len(set(ids)) == 1 for ids in twice), "a repeat carries the same Message-ID"
    assert set(states_of(database).values()) == {"sent"}


def test_dropped_instead_of_repeated_where_the_setting_says_so(database: Database, settings: Settings) -> None:
    readers(database, READERS)
    with sink(body=every(6, Act.KEEP)) as server:
        send_until_settled(database, aimed(settings, server, uncertain="drop"))
    assert all(len(ids) == 1 for ids in message_ids(server).values())
    assert set(states_of(database).values()) == {"sent", "failed"}


@pytest.mark.parametrize("stage", ["RCPT", "body"])
def test_a_message_that_kills_every_connection_fails_alone(database: Database, settings: Settings, stage: str) -> None:
    ids = readers(database, READERS)
    with sink(**{stage: whenever("reader1@", Act.DROP)}) as server:
        target = aimed(settings, server, send_connections=1, attempts_limit=3)
        send_due(database, target, composer=PlainComposer())
        send_until_settled(database, target)
    others = {f"reader{number}@example.org" for number in range(2, READERS + 1)}
    assert set(message_ids(server)) == others
    assert row(database, ids[0]).state == "failed"
    assert {row(database, each).state for each in ids[1:]} == {"sent"}
    assert {row(database, each).attempts for each in ids[1:]} == {1}, "nobody else was charged a try"


def test_an_untrusted_certificate_stops_the_queue_and_costs_nobody(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    readers(database, 10)
    context, authority = server_certificate(tmp_path)
    with aiosmtpd(tls=context) as kept:
        url = f"smtp://127.0.0.1:{kept.port}?tls=required"
        report = send_due(database, settings.model_copy(update={"smtp_url": url}), composer=PlainComposer())
        assert report.paused
        assert set(states_of(database).values()) == {"queued"}
        trusting = settings.model_copy(update={"smtp_url": f"{url}&ca={authority}"})
        assert send_due(database, trusting, composer=PlainComposer(), insist=True).sent == 10
    assert len(kept.mails) == 10


def test_a_relay_without_pipelining_that_stalls_at_data(database: Database, settings: Settings) -> None:
    readers(database, 20)
    plain = USUAL["EHLO"].replace("250-PIPELINING\n", "")
    with sink(EHLO=plain, DATA=every(7, Act.STALL)) as server:
        send_until_settled(database, aimed(settings, server, smtp_timeout_seconds=0.4))
    assert len(message_ids(server)) == 20
    assert all(len(ids) == 1 for ids in message_ids(server).values())
