"""Manners: what is remembered of hosts and bodies, by whom, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st

from service.database import Database
from service.papers.fetching import Fetcher, FetchError, Stored, waits
from service.papers.fetching.addresses import is_public
from service.papers.fetching.fetcher import ARXIV, ARXIV_PACE_SECONDS
from service.papers.fetching.state import Host, Kept, Remembered, State
from service.settings import Settings
from tests.papers import fault_server
from tests.papers.fault_server import Answer, Handler, Server, Stage

NOW = datetime(2026, 1, 7, 12, tzinfo=UTC)


@pytest.fixture(params=["in memory", "in the database"])
def state(request: pytest.FixtureRequest, database: Database) -> State:
    return Remembered() if request.param == "in memory" else Stored(database)


@pytest.fixture
def stage() -> Stage:
    return Stage(datetime.now(UTC).date())


@pytest.fixture
def server(stage: Stage) -> Iterator[Server]:
    with fault_server.playing(stage) as servers:
        yield servers["feeds"]


@pytest.fixture
def quick(settings: Settings) -> Settings:
    return settings.model_copy(
        update={"fetch_retry_seconds": 0.0, "fetch_pace_seconds": 0.0, "fetch_timeout_seconds": 0.5}
    )


def play(stage: Stage, *answers: Answer) -> None:
    stage.play("feeds", "/it", *answers)


def test_what_has_not_changed_is_taken_from_what_was_kept(
    quick: Settings, state: State, stage: Stage, server: Server
) -> None:
    play(stage, fault_server.good(b"body", "text/plain", '"1"'))
    assert [Fetcher(quick, state).get(f"{server.url}/it") for _ in range(3)] == [b"body"] * 3
    assert server.unchanged == 2
    Fetcher(quick, state).forget(f"{server.url}/it")
    assert Fetcher(quick, state).get(f"{server.url}/it") == b"body"
    assert server.unchanged == 2, "what was forgotten is asked for anew"


def test_last_modified_is_sent_back_too(quick: Settings, state: State, stage: Stage, server: Server) -> None:
    asked: list[str | None] = []

    def answer(handler: Handler) -> None:
        asked.append(handler.headers.get("If-Modified-Since"))
        handler.head(200, {"Last-Modified": "Wed, 07 Jan 2026 12:00:00 GMT", "Content-Length": "0"})

    play(stage, answer)
    for _ in range(2):
        Fetcher(quick, state).get(f"{server.url}/it")
    assert asked == [None, "Wed, 07 Jan 2026 12:00:00 GMT"]


def test_a_host_that_asks_for_an_hour_is_left_alone_also_after_a_restart(
    quick: Settings, state: State, stage: Stage, server: Server
) -> None:
    play(stage, fault_server.refusal(429, Retry_After="3600"), fault_server.good(b"fine", "text/plain"))
    with pytest.raises(FetchError, match="answered 429: try again later, not before"):
        Fetcher(quick, state).get(f"{server.url}/it")
    with pytest.raises(FetchError, match="is left alone until"):
        Fetcher(quick, state).get(f"{server.url}/it")
    assert stage.asked("feeds", "/it") == 1
    state.note(f"127.0.0.1:{server.server_port}", Host(datetime.now(UTC) - timedelta(seconds=1), 1))
    assert Fetcher(quick, state).get(f"{server.url}/it") == b"fine"
    assert state.host(f"127.0.0.1:{server.server_port}").failures == 0, "a good answer wipes the slate"


def test_failures_in_a_row_lead_to_a_pause_that_grows(
    quick: Settings, state: State, stage: Stage, server: Server
) -> None:
    play(stage, fault_server.refusal(500))
    for _ in range(3):
        with pytest.raises(FetchError, match="answered 500"):
            Fetcher(quick, state).get(f"{server.url}/it")
    with pytest.raises(FetchError, match="is left alone until"):
        Fetcher(quick, state).get(f"{server.url}/it")
    assert stage.asked("feeds", "/it") == 9


@pytest.mark.parametrize(
    "fault", [fault_server.reset(b"x" * 900), fault_server.lie(b"x"), fault_server.slow(b"x" * 900),
              fault_server.cut_gzip(b"x" * 900)], ids=["reset", "lie", "slow", "cut"]
)  # fmt: skip
def test_a_body_that_breaks_off_in_any_way_is_never_taken_for_whole(
    quick: Settings, stage: Stage, server: Server, fault: Answer
) -> None:
    play(stage, fault, fault_server.good(b"whole", "text/plain"))
    assert Fetcher(quick).get(f"{server.url}/it") == b"whole"


def test_a_body_that_trickles_is_given_up(quick: Settings, stage: Stage, server: Server) -> None:
    def trickle(handler: Handler) -> None:
        handler.head(200, {"Content-Length": "100000"})
        while not handler.server.over.wait(0.02):
            handler.wfile.write(b"x")
            handler.wfile.flush()

    play(stage, trickle)
    hasty = quick.model_copy(update={"fetch_timeout_seconds": 0.1})
    with pytest.raises(FetchError, match="does not come to its end"):
        Fetcher(hasty).get(f"{server.url}/it", tries=1)


def test_where_private_sources_are_allowed_a_redirect_to_another_one_is_not_followed(
    quick: Settings, stage: Stage, server: Server
) -> None:
    play(stage, fault_server.refusal(302, Location="http://127.0.0.1:1/inside"))
    with pytest.raises(FetchError, match="is a private address"):
        Fetcher(quick).get(f"{server.url}/it")
    play(stage, fault_server.refusal(302, Location="/journal"))
    assert b"Invented Feed Paper" in Fetcher(quick).get(f"{server.url}/it")


def test_one_host_is_asked_by_one_at_a_time(state: State) -> None:
    entered, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with state.turn("a.example", 5):
            entered.set()
            leave.wait(10)

    holder = threading.Thread(target=hold)
    holder.start()
    assert entered.wait(10)
    with pytest.raises(TimeoutError), state.turn("a.example", 0.05):
        pass
    with state.turn("b.example", 0.05):
        pass
    leave.set()
    holder.join()
    with state.turn("a.example", 5):
        pass


def test_the_pace_is_kept_between_processes(quick: Settings, state: State, stage: Stage, server: Server) -> None:
    play(stage, fault_server.good(b"x", "text/plain"))
    paced = quick.model_copy(update={"fetch_pace_seconds": 60.0})
    Fetcher(paced, state).get(f"{server.url}/it")
    noted = state.host(f"127.0.0.1:{server.server_port}").not_before
    assert noted is not None
    assert timedelta(seconds=50) < noted - datetime.now(UTC) <= timedelta(seconds=60)
    with pytest.raises(FetchError, match="left alone until"):
        Fetcher(paced, state).get(f"{server.url}/it")


def test_all_of_arxivs_hosts_share_a_pace_of_three_seconds(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, stage: Stage, server: Server
) -> None:
    import socket

    state = Remembered()
    really = socket.getaddrinfo

    def here(host: str, port: int | str, *more: int, **named: int) -> object:
        return really("127.0.0.1" if host.endswith("arxiv.org") else host, port, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", here)
    play(stage, fault_server.good(b"x", "text/plain"))
    Fetcher(quick, state).get(f"http://rss.arxiv.org:{server.server_port}/it")
    noted = state.host(ARXIV).not_before
    assert noted is not None
    assert timedelta(0) < noted - datetime.now(UTC) <= timedelta(seconds=ARXIV_PACE_SECONDS)


def test_kept_bodies_survive_and_what_is_too_large_is_not_kept(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Stored(database).keep("https://a.example/", Kept('"1"', None, b"\x00body"))
    assert Stored(database).kept("https://a.example/") == Kept('"1"', None, b"\x00body")
    monkeypatch.setattr("service.papers.fetching.state.LARGEST_KEPT", 5)
    Stored(database).keep("https://a.example/", Kept('"2"', None, b"a longer body"))
    assert Stored(database).kept("https://a.example/") is None, "an old body does not stand for a new one"


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.1.2.3", "224.0.0.1", "::1", "::",
     "fe80::1%eth0", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"],
)  # fmt: skip
def test_addresses_that_are_not_public_are_known_in_every_disguise(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["151.101.1.1", "2606:4700::1", "::ffff:151.101.1.1"])
def test_public_addresses_are_reached(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0", 0), ("120", 120), (" 7 ", 7), ("99999999999999", waits.LONGEST), ("Wed, 07 Jan 2026 12:01:00 GMT", 60),
     ("Wed, 07 Jan 2026 11:00:00 GMT", 0), ("soon", None), ("-5", None), ("", None), (None, None), ("٣", None)],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(written: str | None, seconds: float | None) -> None:
    assert waits.retry_after(written, NOW) == seconds


@trials(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_retry_after_is_a_sensible_wait_or_none(written: str) -> None:
    wait = waits.retry_after(written, NOW)
    assert wait is None or 0 <= wait <= waits.LONGEST


def test_the_pause_after_failures_grows_to_an_hour_and_is_spread() -> None:
    means = [sum(waits.after_failures(failures) for _ in range(200)) / 200 for failures in (1, 2, 3, 20)]
    assert means == sorted(means)
    assert waits.after_failures(10_000) <= 3_600 * 1.3
    assert len({waits.after_failures(1) for _ in range(5)}) > 1
