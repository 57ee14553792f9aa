"""Several relays as one: their shares, and who takes over."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from service.delivery import relays as relays_module
from service.delivery.relay import Relay, Tls
from service.delivery.relays import Relays
from service.delivery.results import Accepted, Deferred, Rejected, RelayDown, Result, Throttled, Unsent
from service.delivery.throttle import Counts, DomainRates, LocalCounts, Rate
from tests.delivery.servers import Message, Sink, sink, whenever
from tests.delivery.test_smtp import QUICK, each_once, kinds, messages

NOWHERE = Relay("127.0.0.1", 9, Tls.OFF)


def send(
    relays: Sequence[Relay],
    batches: Sequence[Sequence[Message]],
    *,
    counts: Counts | None = None,
    domain_rates: DomainRates | None = None,
) -> tuple[dict[int, Result], list[RelayDown]]:
    """Each message's one result, over all batches, and the falls."""

    async def run() -> tuple[dict[int, Result], list[RelayDown]]:
        transport = Relays(
            relays,
            connections=2,
            mail_domain="papers.example",
            counts=counts or LocalCounts(),
            domain_rates=domain_rates,
            timeouts=QUICK,
        )
        results: dict[int, Result] = {}
        falls = []
        for batch in batches:
            try:
                async for result in transport.send(batch):
                    assert result.delivery_id not in results
                    results[result.delivery_id] = result
            except RelayDown as error:
                falls.append(error)
        await transport.close()
        return results, falls

    results, falls = asyncio.run(run())
    assert sorted(results) == sorted(message.delivery_id for batch in batches for message in batch)
    return results, falls


def shares(*servers: Sink) -> list[int]:
    return [len(server.accepted) for server in servers]


@pytest.fixture
def two() -> Iterator[tuple[Sink, Sink]]:
    with sink() as first, sink() as second:
        yield first, second


@pytest.mark.parametrize(("weights", "expected"), [((1, 1), [30, 30]), ((3, 1), [45, 15]), ((1, 5), [10, 50])])
def test_each_relay_gets_its_share(two: tuple[Sink, Sink], weights: tuple[int, int], expected: list[int]) -> None:
    mine = [replace(server.relay, weight=weight) for server, weight in zip(two, weights, strict=True)]
    results, falls = send(mine, [messages(60)])
    assert falls == []
    assert kinds(results) == {Accepted: 60}
    assert shares(*two) == expected


def test_shares_hold_over_single_messages_too(two: tuple[Sink, Sink]) -> None:
    mine = [replace(two[0].relay, weight=3), two[1].relay]
    send(mine, [[Message(number)] for number in range(1, 41)])
    assert shares(*two) == [30, 10]


def test_a_relay_that_is_down_loses_its_share_to_the_others() -> None:
    with sink() as server:
        results, falls = send([NOWHERE, server.relay], [messages(40), [Message(number) for number in range(41, 51)]])
        assert falls == []
        assert kinds(results) == {Accepted: 50}
        each_once(server, results)


def test_a_relay_that_says_421_to_all_loses_its_share_to_the_others() -> None:
    with sink(connect="421 4.3.2 closing for maintenance") as pausing, sink() as server:
        results, falls = send([pausing.relay, server.relay], [messages(40)])
        assert falls == []
        assert kinds(results) == {Accepted: 40}
        each_once(server, results)


def test_a_relay_that_falls_midway_repeats_nothing() -> None:
    served = 0

    def until_tired(_line: str) -> str | None:
        nonlocal served
        served += 1
        return "421 4.3.2 shutting down" if served > 10 else None

    with sink(MAIL=until_tired) as falling, sink() as server:
        results, _ = send([falling.relay, server.relay], [messages(100)])
        assert kinds(results) == {Accepted: 100}
        received = Counter([*falling.recipients, *server.recipients])
        assert len(received) == 100
        assert set(received.values()) == {1}
        assert len(falling.recipients) == 10


def test_only_when_all_are_down_is_the_transport_down() -> None:
    with sink(connect="554 5.7.1 go away") as refusing:
        results, falls = send([NOWHERE, refusing.relay], [messages(10)])
    assert kinds(results) == {Unsent: 10}
    assert len(falls) == 1
    assert "127.0.0.1:9" in str(falls[0])
    assert str(refusing.relay) in str(falls[0])


def test_a_rested_relay_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relays_module, "REST_SECONDS", 0.0)
    tired = iter(["421 4.3.2 not yet"] * 3)
    with sink(connect=lambda _: next(tired, None)) as waking, sink() as server:
        results, _ = send([waking.relay, server.relay], [messages(10), [Message(number) for number in range(11, 31)]])
        assert kinds(results) == {Accepted: 30}
        assert len(waking.accepted) > 0


def test_a_relay_that_refuses_every_address_is_not_believed() -> None:
    with sink(RCPT="550 5.1.1 no such user") as broken, sink() as server:
        results, falls = send([broken.relay, server.relay], [messages(100)])
        assert falls == []
        assert kinds(results) == {Accepted: 100}
        each_once(server, results)


def test_a_bad_address_is_refused_once_both_agree() -> None:
    refuse = whenever("reader7@", "550 5.1.1 no such user")
    with sink(RCPT=refuse) as first, sink(RCPT=refuse) as second:
        results, _ = send([first.relay, second.relay], [messages(20)])
        assert kinds(results) == {Accepted: 19, Rejected: 1}
        rejected = results[7]
        assert isinstance(rejected, Rejected)
        assert rejected.bad_address == "550 5.1.1"


def test_refusals_of_one_relay_alone_are_reported_as_they_are() -> None:
    with sink(RCPT="450 4.2.0 greylisted") as server:
        results, _ = send([server.relay], [messages(5)])
    assert kinds(results) == {Deferred: 5}


def test_a_relay_at_its_limit_leaves_the_rest_to_the_others(two: tuple[Sink, Sink]) -> None:
    mine = [replace(two[0].relay, weight=9, rates=(Rate(7, 3600),)), two[1].relay]
    results, _ = send(mine, [messages(50)])
    assert kinds(results) == {Accepted: 50}
    assert shares(*two) == [7, 43]


def test_what_no_relay_may_take_waits_its_turn_in_the_queue(two: tuple[Sink, Sink]) -> None:
    mine = [replace(server.relay, rates=(Rate(10, 3600),)) for server in two]
    results, falls = send(mine, [messages(30), [Message(number) for number in range(31, 36)]])
    assert falls == [], "a limit is no reason to stop the queue"
    assert kinds(results) == {Accepted: 20, Throttled: 15}
    turns = [result.seconds for result in results.values() if isinstance(result, Throttled)]
    assert sorted(turns) == turns
    assert len(set(turns)) == 15, "each has a turn of its own, behind those that waited before"
    assert turns[0] > 3000


def test_a_short_limit_is_waited_for() -> None:
    with sink() as server:
        results, _ = send([replace(server.relay, rates=(Rate(20, 1),))], [messages(30)])
        assert kinds(results) == {Accepted: 30}


def test_a_domain_at_its_limit_holds_up_nobody_else() -> None:
    mails = [Message(number, recipient=f"r{number}@{'slow' if number % 2 else 'fast'}.example") for number in range(40)]
    limits = DomainRates((("slow.example", Rate(5, 3600)),))
    with sink() as server:
        results, _ = send([server.relay], [mails], domain_rates=limits)
        assert kinds(results) == {Accepted: 25, Throttled: 15}
        assert sum(recipient.endswith("@slow.example") for recipient in server.recipients) == 5
