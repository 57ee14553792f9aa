from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from service.database import Database
from service.delivery.sender import send_due
from service.outbox import pause
from service.settings import Settings
from tests.delivery.servers import sink
from tests.delivery.test_sender import PlainComposer, aimed, readers

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


def test_pauses_grow_while_the_relay_stays_away_and_end_with_the_first_message(database: Database) -> None:
    moment, lengths = NOW, []
    for tries in range(1, 12):
        pause.begin(database, "the relay is down", now=moment)
        pause.begin(database, "said by another worker at once", now=moment)
        found = pause.current(database)
        assert found is not None
        assert (found.reason, found.since, found.tries) == ("the relay is down", NOW, tries)
        lengths.append(found.until - moment)
        assert not found.over(moment)
        moment = found.until
        assert found.over(moment)
    assert lengths[0] == pause.FIRST
    assert max(lengths) <= pause.LONGEST
    assert min(lengths[-3:]) >= pause.LONGEST / 2
    pause.end(database)
    assert pause.current(database) is None


def test_while_one_worker_knows_the_relay_is_down_no_other_tries(database: Database, settings: Settings) -> None:
    readers(database, 5)
    with sink(connect="421 4.3.2 closing") as down:
        first = send_due(database, aimed(settings, down), composer=PlainComposer())
        asked = down.connections
        again = send_due(database, aimed(settings, down), composer=PlainComposer())
    assert (first.paused, again.paused) == (True, True)
    assert again.reason == first.reason
    assert down.connections == asked
    with sink() as healthy:
        later = datetime.now(UTC) + pause.FIRST + timedelta(seconds=1)
        assert send_due(database, aimed(settings, healthy), composer=PlainComposer(), now=later).sent == 5
    assert pause.current(database) is None


@pytest.mark.parametrize("taken", [30, 130])
def test_a_relay_that_falls_after_some_messages_is_paused_for(
    database: Database, settings: Settings, taken: int
) -> None:
    readers(database, 200)
    count = 0

    def until(_line: str) -> str | None:
        nonlocal count
        count += 1
        return None if count <= taken else "421 4.3.2 closing"

    with sink(body=until) as server:
        report = send_due(database, aimed(settings, server), composer=PlainComposer())
    assert (report.sent, report.paused) == (taken, True)
    assert pause.current(database) is not None
