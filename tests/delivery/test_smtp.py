"""The SMTP transport against a server that misbehaves at every stage. The server's own log is the judge."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

import pytest

from service.delivery.handshake import Timeouts
from service.delivery.pool import SmtpTransport
from service.delivery.relay import Relay
from service.delivery.results import Accepted, Deferred, Rejected, RelayDown, Result, Uncertain, Unsent
from tests.delivery.servers import Act, Message, Sink, nth, sink, whenever, without

QUICK = Timeouts(connect=2.0, command=0.4, content=0.4, quit=0.2)


def send(
    relay: Relay,
    messages: Sequence[Message],
    *,
    connections: int = 1,
    per_connection: int = 500,
    latest: float | None = None,
) -> tuple[dict[int, Result], RelayDown | None]:
    """Each message's one result, and the relay's fall if it fell."""

    async def run() -> tuple[dict[int, Result], RelayDown | None]:
        transport = SmtpTransport(
            relay,
            connections=connections,
            mail_domain="papers.example",
            timeouts=QUICK,
            messages_per_connection=per_connection,
        )
        results: dict[int, Result] = {}
        down = None
        try:
            async for result in transport.send(messages, latest=latest):
                assert result.delivery_id not in results
                results[result.delivery_id] = result
        except RelayDown as error:
            down = error
        await transport.close()
        return results, down

    results, down = asyncio.run(run())
    assert sorted(results) == sorted(message.delivery_id for message in messages)
    return results, down


def messages(count: int) -> list[Message]:
    return [Message(number) for number in range(1, count + 1)]


def kinds(results: dict[int, Result]) -> Counter[type[Result]]:
    return Counter(type(result) for result in results.values())


def each_once(server: Sink, results: dict[int, Result]) -> None:
    """Exactly the accepted ones are in the server's log, once; an uncertain one may be."""
    counted = Counter(server.recipients)
    assert all(count == 1 for count in counted.values())
    accepted = {f"reader{number}@example.org" for number, result in results.items() if isinstance(result, Accepted)}
    uncertain = {f"reader{number}@example.org" for number, result in results.items() if isinstance(result, Uncertain)}
    assert accepted <= counted.keys() <= accepted | uncertain


@pytest.mark.parametrize("connections", [1, 4, 16])
@pytest.mark.parametrize("ehlo", [None, without("PIPELINING")], ids=["pipelined", "plain"])
def test_every_recipient_exactly_once(connections: int, ehlo: str | None) -> None:
    with sink(EHLO=lambda _: ehlo) as server:
        results, down = send(server.relay, messages(200), connections=connections)
    assert down is None
    assert kinds(results) == {Accepted: 200}
    each_once(server, results)
    assert server.greatest <= connections


def test_a_pipelined_message_costs_one_round_trip() -> None:
    with sink() as server:
        send(server.relay, messages(3))
    assert [line.split()[0] for line in server.commands] == ["EHLO", *["MAIL", "RCPT", "DATA"] * 3, "QUIT"]
    assert "MAIL FROM:<digest@papers.example> SIZE=25" in server.commands


def test_without_pipelining_each_command_waits_for_the_answer_before() -> None:
    waiting = []

    def slowly(line: str) -> None:
        waiting.append(line)
        time.sleep(0.02)  # a second command, had it been sent, would be in the log before this answer

    with sink(EHLO=without("PIPELINING"), MAIL=slowly, RCPT=slowly) as server:
        results, _ = send(server.relay, messages(2))
    assert kinds(results) == {Accepted: 2}


def test_ehlo_refused_falls_back_to_helo_without_extensions() -> None:
    with sink(EHLO="502 5.5.1 never heard of it") as server:
        results, _ = send(server.relay, messages(2))
    assert kinds(results) == {Accepted: 2}
    assert "MAIL FROM:<digest@papers.example>" in server.commands


def test_dots_and_long_lines_arrive_as_they_were() -> None:
    content = b".first\r\n\r\n.\r\n..two\r\nlast.\r\n" + b"x" * 900 + b"\r\n."
    with sink() as server:
        send(server.relay, [Message(1, content)])
    assert server.accepted[0][1] == content + b"\r\n"


def test_a_bare_line_feed_cannot_end_a_message_early() -> None:
    smuggled = b"Subject: x\n.\nMAIL FROM:<evil@example.org>\r.\r\r\n.\r\nend\r\n"
    with sink() as server:
        send(server.relay, [Message(1, smuggled), Message(2)])
    assert server.accepted[0][1] == b"Subject: x\r\n.\r\nMAIL FROM:<evil@example.org>\r\n.\r\n\r\n.\r\nend\r\n"
    assert len(server.accepted) == 2


@pytest.mark.parametrize("ehlo", [None, without("PIPELINING")], ids=["pipelined", "plain"])
@pytest.mark.parametrize("stage", ["RCPT", "body"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("450 4.2.1 try later", Deferred),
        ("451 try later", Deferred),
        ("550 5.7.1 not that", Rejected),
        ("554 no", Rejected),
    ],
)
def test_a_refused_message_fails_alone(stage: str, answer: str, expected: type[Result], ehlo: str | None) -> None:
    cue = whenever("reader2@", answer)
    with sink(
        EHLO=lambda _: ehlo, RCPT=cue if stage == "RCPT" else None, body=cue if stage == "body" else None
    ) as server:
        results, down = send(server.relay, messages(4))
    assert down is None
    assert type(results[2]) is expected
    assert results[2].reply == answer
    assert kinds(results) == {Accepted: 3, expected: 1}
    each_once(server, results)


@pytest.mark.parametrize("connections", [1, 4])
def test_all_recipients_refused_though_data_says_go_on(connections: int) -> None:
    """RFC 2920: the lone dot must follow, and it delivers nothing to anybody."""
    with sink(RCPT=whenever("reader", "550 5.1.1 nobody")) as server:
        results, down = send(server.relay, messages(6), connections=connections)
    assert down is None
    assert kinds(results) == {Rejected: 6}
    assert all(isinstance(result, Rejected) and result.bad_address == "550 5.1.1" for result in results.values())
    assert server.accepted == []
    assert server.commands.count("DATA") == 6
    assert "RSET" not in server.commands


def test_recipient_and_data_refused_then_rset_and_on() -> None:
    refused = False

    def rcpt(line: str) -> str | None:
        nonlocal refused
        refused = "reader2@" in line
        return "550 5.1.1 nobody" if refused else None

    with sink(RCPT=rcpt, DATA=lambda _: "503 5.5.1 no recipients" if refused else None) as server:
        results, _ = send(server.relay, messages(3))
    assert kinds(results) == {Accepted: 2, Rejected: 1}
    assert server.commands.count("RSET") == 1
    each_once(server, results)


@pytest.mark.parametrize("ehlo", [None, without("PIPELINING")], ids=["pipelined", "plain"])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA", "body"])
def test_421_once_sends_the_rest_by_another_connection(stage: str, ehlo: str | None) -> None:
    """A message told 421 was not accepted, whatever the stage, and goes again."""
    cue = nth(3, "421 4.3.2 shutting down")
    with sink(EHLO=lambda _: ehlo, **{stage: cue}) as server:
        results, down = send(server.relay, messages(5))
    assert down is None
    assert kinds(results) == {Accepted: 5}
    assert server.connections == 2
    each_once(server, results)


@pytest.mark.parametrize("stage", ["connect", "EHLO", "MAIL", "RCPT", "DATA", "body"])
def test_421_to_everything_is_a_relay_that_is_down(stage: str) -> None:
    with sink(**{stage: "421 4.3.2 not today"}) as server:
        results, down = send(server.relay, messages(20), connections=4)
    assert down is not None
    assert "421 4.3.2" in str(down)
    assert kinds(results) == {Unsent: 20}
    assert server.accepted == []


@pytest.mark.parametrize("act", [Act.DROP, Act.STALL, Act.HALF])
@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_connection_broken_before_the_content_loses_and_repeats_nothing(stage: str, act: Act) -> None:
    with sink(**{stage: nth(2, act)}) as server:
        results, down = send(server.relay, messages(4))
    assert down is None
    assert kinds(results) == {Accepted: 4}
    each_once(server, results)


@pytest.mark.parametrize("ehlo", [None, without("PIPELINING")], ids=["pipelined", "plain"])
@pytest.mark.parametrize("act", [Act.DROP, Act.STALL, Act.HALF, "999 what", "250-a\n251 b", "354 and now?"])
def test_connection_broken_after_the_final_dot_is_uncertain_for_that_message_only(
    act: Act | str, ehlo: str | None
) -> None:
    with sink(EHLO=lambda _: ehlo, body=whenever("reader2@", act)) as server:
        results, down = send(server.relay, messages(4))
    assert down is None
    assert type(results[2]) is Uncertain
    assert kinds(results) == {Accepted: 3, Uncertain: 1}
    each_once(server, results)


def test_acceptance_lost_on_the_wire_is_uncertain_and_not_sent_again() -> None:
    """RFC 1047: the server has the message, and we do not know."""
    with sink() as server:
        kept: list[str] = []

        def keep_and_drop(recipients: str) -> Act | None:
            if recipients != "reader2@example.org":
                return None
            kept.append(recipients)
            return Act.DROP

        server.answers["body"] = keep_and_drop
        results, _ = send(server.relay, messages(3))
    assert kinds(results) == {Accepted: 2, Uncertain: 1}
    assert kept == ["reader2@example.org"]


def test_large_content_cut_off_midway_was_not_attempted() -> None:
    """The final dot never left this process, so there is nothing uncertain about it."""

    async def run() -> Result:
        async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 sink.example\r\n")
            writer.write(b"250-sink.example\r\n250 PIPELINING\r\n")
            writer.write(b"250 Ok\r\n250 Ok\r\n354 Go on\r\n")
            await reader.readexactly(1000)
            writer.transport.abort()

        server = await asyncio.start_server(cut, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sending = Relay("127.0.0.1", port, Sink().relay.tls)
        transport = SmtpTransport(sending, connections=1, mail_domain="papers.example", timeouts=QUICK)
        results = [result async for result in transport.send([Message(1, b"0123456789abcd\r\n" * 2_000_000)])]
        await transport.close()
        server.close()
        return results[0]

    assert type(asyncio.run(run())) is Deferred


def test_message_that_breaks_every_connection_is_deferred_and_holds_up_nobody() -> None:
    with sink(RCPT=whenever("reader1@", Act.DROP)) as server:
        results, down = send(server.relay, messages(10))
    assert down is None
    assert type(results[1]) is Deferred
    assert kinds(results) == {Accepted: 9, Deferred: 1}
    each_once(server, results)


@pytest.mark.parametrize("act", [Act.DROP, Act.HALF, Act.STALL, "554 5.7.1 go away", "HTTP/1.1 400 Bad Request"])
@pytest.mark.parametrize("stage", ["connect", "EHLO"])
def test_relay_that_does_not_let_us_in_is_down(stage: str, act: Act | str) -> None:
    answers: dict[str, Act | str] = {stage: act}
    if stage == "EHLO":
        answers["HELO"] = act
    with sink(**answers) as server:
        results, down = send(server.relay, messages(8), connections=2)
    assert down is not None
    assert "\n" not in str(down)
    assert kinds(results) == {Unsent: 8}


def test_nothing_listens() -> None:
    with sink() as server:
        relay = server.relay
    results, down = send(relay, messages(3))
    assert "cannot be reached" in str(down)
    assert kinds(results) == {Unsent: 3}


def test_sender_refused_by_the_relay_is_nobodys_bounce() -> None:
    with sink(MAIL="553 5.7.1 sender not owned") as server:
        results, down = send(server.relay, messages(3))
    assert "553 5.7.1" in str(down)
    assert "PAPERROUND_FROM" in str(down)
    assert kinds(results) == {Unsent: 3}


def test_relay_that_breaks_every_conversation_is_down() -> None:
    with sink(MAIL=Act.DROP) as server:
        results, down = send(server.relay, messages(30), connections=2)
    assert "breaks off every conversation" in str(down)
    assert set(kinds(results)) <= {Unsent, Deferred}
    assert server.connections <= 6


def test_fewer_connections_where_the_relay_lets_in_fewer() -> None:
    with sink() as server:

        def crowded(_line: str) -> str | None:
            return "421 4.7.0 too many connections" if server._open > 2 else None

        server.answers["connect"] = crowded
        results, down = send(server.relay, messages(100), connections=8)
    assert down is None
    assert kinds(results) == {Accepted: 100}
    each_once(server, results)


def test_a_connection_carries_no_more_messages_than_it_may() -> None:
    with sink() as server:
        results, _ = send(server.relay, messages(10), per_connection=4)
    assert kinds(results) == {Accepted: 10}
    assert server.connections == 3
    assert server.commands.count("QUIT") == 3


def test_connection_closed_while_idle_is_nobodys_fault() -> None:
    async def run(server: Sink) -> list[Result]:
        transport = SmtpTransport(server.relay, connections=1, mail_domain="papers.example", timeouts=QUICK)
        results = []
        for number in (1, 2, 3):
            results += [result async for result in transport.send([Message(number)])]
            await asyncio.sleep(0.1)
        await transport.close()
        return results

    with sink(body=nth(1, "250 2.0.0 kept\n421 4.4.2 idle")) as server:
        # Both replies in one answer: the second is the server's goodbye before it closes.
        results = asyncio.run(run(server))
    assert [type(result) for result in results] == [Accepted] * 3


def test_nothing_leaves_after_the_latest_moment() -> None:
    with sink() as server:
        results, down = send(server.relay, messages(3), latest=time.monotonic() - 1)
    assert down is None
    assert kinds(results) == {Unsent: 3}
    assert server.commands == ["EHLO papers.example", "QUIT"]


def test_a_batch_that_nobody_listens_to_any_more_is_not_sent_on() -> None:
    async def run(server: Sink) -> None:
        transport = SmtpTransport(server.relay, connections=2, mail_domain="papers.example", timeouts=QUICK)
        results = transport.send(messages(50))
        await anext(results)
        await results.aclose()
        await transport.close()

    def slowly(_recipients: str) -> None:
        time.sleep(0.01)

    with sink(body=slowly) as server:
        asyncio.run(run(server))
    assert len(server.accepted) < 10


def test_two_batches_share_the_connections() -> None:
    async def run(server: Sink) -> dict[int, Result]:
        transport = SmtpTransport(server.relay, connections=2, mail_domain="papers.example", timeouts=QUICK)

        async def one(batch: Sequence[Message]) -> list[Result]:
            return [result async for result in transport.send(batch)]

        first, second = await asyncio.gather(one(messages(60)[:30]), one(messages(60)[30:]))
        await transport.close()
        assert {result.delivery_id for result in first} == set(range(1, 31))
        return {result.delivery_id: result for result in first + second}

    with sink() as server:
        each_once(server, asyncio.run(run(server)))
    assert server.connections == 2
    assert len(server.accepted) == 60
