"""What operators do: the pause of all digests, and the remedies; each with its line in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import select

from service.database import Database
from service.database.tables import AuditEvent, CarriedOver, CoverageState, Delivery, DeliveryKind, Digest, OperatorRole
from service.delivery.sender import send_due
from service.operators import remedies
from service.operators.accounts import OperatorError
from service.outbox import digest_pause, pause, rows
from service.overview.trouble import Remedy
from service.papers import coverage
from service.settings import Settings
from tests.delivery.servers import sink
from tests.delivery.test_sender import PlainComposer, aimed, readers, states_of
from tests.operators.conftest import csrf
from tests.overview.rows import deliveries

NOW = datetime.now(UTC)
HOUR = timedelta(hours=1)


def acts(database: Database) -> list[tuple[str, str, str]]:
    with database.transaction() as session:
        return [
            (line.act, line.subject, line.detail)
            for line in session.scalars(select(AuditEvent).order_by(AuditEvent.id))
            if line.act not in ("operator added", "second factor enrolled", "signed in")
        ]


# ---- the pause of all digests ----------------------------------------------------------------------------------------


def test_while_all_digests_are_paused_other_mail_leaves_and_nothing_is_lost(
    database: Database, settings: Settings
) -> None:
    numbers = readers(database, 3, deadline=NOW + HOUR)
    with database.transaction() as session:
        for number in (1, 2, 3):
            session.add(
                Digest(
                    reader_id=number, slot=NOW, first_edition_id=1, last_edition_id=1, paper_ids=[1], reason_papers=[],
                    reason_queries=[], matched=1,
                )
            )  # fmt: skip
        notice = rows.enqueue(session, kind=DeliveryKind.SIGN_IN, reader_id=1, mail_domain="papers.example")
        assert digest_pause.begin(session, 1)
        assert not digest_pause.begin(session, 2)
    with sink() as relay:
        report = send_due(database, aimed(settings, relay), composer=PlainComposer())
        assert (report.sent, report.paused) == (1, False)
        assert states_of(database) == {**dict.fromkeys(numbers, "queued"), notice: "sent"}
        rows.sweep(database, now=NOW + 2 * HOUR)
        with database.transaction() as session:
            assert len(session.scalars(select(CarriedOver)).all()) == 3, "late ones come with the next digest"
            assert digest_pause.end(session)
            assert digest_pause.current(session) is None
            rows.enqueue(session, kind=DeliveryKind.DIGEST, reader_id=1, mail_domain="papers.example")
        assert send_due(database, aimed(settings, relay), composer=PlainComposer()).sent == 1


def test_a_pause_that_begins_in_the_middle_of_a_claim_gives_it_back_uncounted(
    database: Database, settings: Settings
) -> None:
    numbers = readers(database, 5)

    def stop(_session: object, _claims: object) -> None:
        with database.transaction() as session:
            digest_pause.begin(session, 1)

    with sink() as relay:
        report = send_due(database, aimed(settings, relay), composer=PlainComposer(before=stop))
        assert report.sent == 0
        assert relay.accepted == []
    with database.transaction() as session:
        found = session.execute(select(Delivery.id, Delivery.state, Delivery.attempts, Delivery.lease_owner)).all()
    assert sorted(found) == [(number, "queued", 0, None) for number in numbers]


def test_an_owner_pauses_and_resumes_all_digests_and_an_editor_cannot(
    seated: Callable[[OperatorRole], TestClient], database: Database
) -> None:
    browser = seated(OperatorRole.EDITOR)
    form = {"csrf": csrf(browser.get("/admin").text)}
    assert browser.post("/admin/pause", data=form).status_code == 403
    browser = seated(OperatorRole.OWNER)
    page = browser.get("/admin").text
    done = browser.post("/admin/pause", data={"csrf": csrf(page)})
    told = browser.get(done.headers["location"]).text
    assert "Done: all digests paused" in told
    assert "All digests are paused since" in told
    assert browser.post("/admin/pause", data={"csrf": csrf(page)}).status_code == 409
    assert browser.post("/admin/resume", data={"csrf": csrf(page)}).status_code == 303
    assert [act for act, _, _ in acts(database)] == ["all digests paused", "all digests resumed"]


# ---- remedies --------------------------------------------------------------------------------------------------------


def test_each_remedy_does_what_it_says_once(database: Database) -> None:
    deliveries(database, "sending", 2, lease=NOW - HOUR)
    deliveries(database, "sending", 1, lease=NOW + HOUR)
    deliveries(database, "deferred", 3, due=NOW + HOUR, attempts=4)
    pause.begin(database, "the relay is down", now=NOW)
    did = []
    for remedy in (Remedy.RELEASE_LEASES, Remedy.RETRY_NOW, Remedy.RESUME_RELAY) * 2:
        with database.transaction() as session:
            did.append(remedies.apply(session, remedy, "").detail)
    assert did == ["deliveries: 2", "deliveries: 3", "", "deliveries: 0", "deliveries: 0", "it was not paused any more"]
    with database.transaction() as session:
        found = session.execute(select(Delivery.state, Delivery.attempts, Delivery.due_at <= datetime.now(UTC))).all()
    assert sorted(found) == [("deferred", 4, True)] * 3 + [("queued", 1, True)] * 2 + [("sending", 1, True)]
    assert pause.current(database) is None


@pytest.mark.parametrize(("remedy", "state"), [(Remedy.CALL_SENT, "sent"), (Remedy.REPEAT, "queued")])
def test_uncertain_mail_waits_for_a_word_where_the_setting_says_so(
    database: Database, remedy: Remedy, state: str
) -> None:
    deliveries(database, "uncertain", 2, settled=NOW)
    assert rows.sweep(database, uncertain="ask").uncertain == 0
    with database.transaction() as session:
        assert remedies.apply(session, remedy, "").detail == "deliveries: 2"
        found = session.execute(select(Delivery.state, Delivery.settled_at.is_not(None))).all()
    assert found == [(state, state == "sent")] * 2


def test_a_day_asked_for_again_is_where_the_next_reading_begins_and_then_is_done(database: Database) -> None:
    day, moment = NOW.date() - timedelta(days=9), NOW

    def known(at: int) -> coverage.SourceDay:
        state = CoverageState.COMPLETE
        return coverage.SourceDay("arxiv", NOW.date() - timedelta(days=at), state, taken=1, completed_at=moment)

    with database.transaction() as session:
        coverage.note(session, [known(at) for at in range(10)])
        assert coverage.since(session, "arxiv", 3, now=NOW) == NOW.date()
        did = remedies.apply(session, Remedy.READ_AGAIN, f"arxiv {day}")
        assert did.subject == f"arxiv {day}"
        assert coverage.since(session, "arxiv", 3, now=NOW) == day
        coverage.conclude(
            session, source="arxiv", origin="x", asked=(day, NOW.date()), told_of={day: 1}, taken={day: 1}, error=None,
            now=NOW,
        )  # fmt: skip
        assert coverage.since(session, "arxiv", 3, now=NOW) == NOW.date()
        for nonsense in ("", "arxiv", "arxiv yesterday", "nobody 2026-01-01"):
            with pytest.raises(OperatorError):
                remedies.apply(session, Remedy.READ_AGAIN, nonsense)
        with pytest.raises(OperatorError):
            remedies.apply(session, Remedy.RUN_TASK, "rm")


def test_a_remedy_is_pressed_by_an_editor_written_down_and_told(
    seated: Callable[[OperatorRole], TestClient], database: Database
) -> None:
    deliveries(database, "sending", 2, lease=NOW - HOUR)
    viewer = seated(OperatorRole.VIEWER)
    page = viewer.get("/admin/trouble").text
    assert "2 deliveries held by lost senders" in page
    assert "Release leases" not in page
    form = {"csrf": csrf(page), "remedy": "release leases"}
    assert viewer.post("/admin/trouble", data=form).status_code == 403
    editor = seated(OperatorRole.EDITOR)
    form["csrf"] = csrf(editor.get("/admin/trouble").text)
    done = editor.post("/admin/trouble", data=form)
    assert "Done: leases released. deliveries: 2" in editor.get(done.headers["location"]).text
    assert acts(database) == [("leases released", "", "deliveries: 2")]
    assert editor.post("/admin/trouble", data=form | {"remedy": "magic"}).status_code == 422
    assert editor.post("/admin/trouble", data=form | {"remedy": "run it now", "subject": "x"}).status_code == 409


def test_an_act_that_fails_leaves_no_line(
    seated: Callable[[OperatorRole], TestClient], database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries(database, "sending", 1, lease=NOW - HOUR)
    editor = seated(OperatorRole.EDITOR)
    form = {"csrf": csrf(editor.get("/admin/trouble").text), "remedy": "release leases"}

    def broken(*_: object) -> int:
        raise OperatorError("the log cannot be written")

    monkeypatch.setattr("service.operators.audit.record", broken)
    assert editor.post("/admin/trouble", data=form).status_code == 409
    assert list(states_of(database).values()) == ["sending"], "no act without its record"


@pytest.mark.parametrize("path", ["/admin", "/admin/picture", "/admin/trends", "/admin/sources", "/admin/trouble"])
def test_every_page_is_there_for_a_viewer_and_says_only_english(
    seated: Callable[[OperatorRole], TestClient], path: str
) -> None:
    answer = seated(OperatorRole.VIEWER).get(path, headers={"accept-language": "de"})
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert "style=" not in answer.text
