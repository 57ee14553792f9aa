"""The operators' door: what opens it, what does not, and what it writes down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient
from lxml import html
from pydantic import SecretStr
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from service.database import Database
from service.database.tables import AuditEvent, Delivery, Letter, Operator, OperatorRole, OperatorSession
from service.operators import accounts, audit, second_factor, sessions, sign_in
from service.operators.accounts import OperatorError
from service.operators.audit import Act
from service.operators.second_factor import SecondFactorError
from service.operators.sessions import Verdict
from service.settings import Settings
from service.web.admin import DOORS, PAGES
from service.web.admin.desk import COOKIE, Desk
from service.web.site import Site
from tests import factories
from tests.operators.conftest import csrf, enrolled, link, operator

WITHOUT = ("", "/passkey", "/passkey/ask")
"""What is posted at the door by who has no session yet."""


def acts(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(AuditEvent.act).order_by(AuditEvent.id)))


def letters_waiting(database: Database) -> int:
    with database.transaction() as session:
        return session.scalar(select(func.count()).select_from(Letter)) or 0


# ---- the first factor ------------------------------------------------------------------------------------------------


def test_the_first_sign_in_enrols_and_opens_the_dashboard(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    number = operator(database)
    path = link(settings, number)
    assert "works once" in browser.get(path).text
    assert browser.get(path).status_code == 200, "looking at the link does not spend it"
    entered = browser.post(path)
    cookie = entered.headers["set-cookie"].lower()
    assert {"httponly", "secure", "samesite=strict", "path=/admin"} <= set(cookie.split("; "))
    assert browser.get("/admin").headers["location"] == "/admin/code", "the link alone shows nothing"
    page = browser.get("/admin/code").text
    assert "<svg" in page
    with database.transaction() as session:
        seat = sessions.read(session, settings, browser.cookies.get(COOKIE))
        assert seat is not None
        secret = sessions.enrolment(session, settings, seat)
    assert second_factor.written(secret) in page
    before = browser.cookies.get(COOKIE)
    code = second_factor.code(secret, datetime.now(UTC))
    answer = browser.post("/admin/code", data={"csrf": csrf(page), "code": f"{code[:3]} {code[3:]}"})
    assert answer.headers["location"] == "/admin"
    assert browser.cookies.get(COOKIE) != before, "a token seen before the second factor is worth nothing after"
    assert browser.get("/admin/log").status_code == 200
    assert acts(database) == ["operator added", "second factor enrolled", "signed in"]


def test_a_link_works_once_and_not_for_long(browser: TestClient, database: Database, settings: Settings) -> None:
    number = operator(database)
    path = link(settings, number)
    assert browser.post(path).status_code == 303
    assert browser.post(path).status_code == 404
    assert browser.get(path + "x").status_code == 404
    assert {browser.post(each).status_code for each in factories.spellings(path)} == {404}, "however it is spelled"
    with database.transaction() as session:
        accounts.remove(session, number, by=None)
    assert browser.post(link(settings, number)).status_code == 404, "of one who is gone"


def test_asking_for_a_link_tells_nobody_who_is_an_operator(
    browser: TestClient, database: Database, settings: Settings
) -> None:
    operator(database, email="Olga@Example.org")
    known = browser.post("/admin/sign-in", data={"email": "olga@example.org"})
    assert known.text == browser.post("/admin/sign-in", data={"email": "nobody@example.org"}).text
    assert browser.post("/admin/sign-in", data={"email": "no address"}).status_code == 400
    assert browser.post("/admin/sign-in", data={"email": "olga@example.org"}).status_code == 200
    assert letters_waiting(database) == 1, "one mail in two minutes, to operators only"
    with database.transaction() as session:
        waiting = session.scalars(select(Delivery)).one()
        assert (waiting.priority, waiting.kind, waiting.reader_id) == (0, "operator-link", 0)
        later = datetime.now(UTC) + sign_in.PAUSE + timedelta(seconds=1)
        assert sign_in.request(session, settings, "olga@example.org", now=later)


def test_a_network_that_asks_too_often_waits(browser: TestClient) -> None:
    asked = [browser.post("/admin/sign-in", data={"email": f"a{n}@example.org"}).status_code for n in range(61)]
    assert asked == [200] * 60 + [429]


# ---- the second factor -----------------------------------------------------------------------------------------------


def test_codes_are_those_of_the_rfc() -> None:
    """RFC 6238, appendix B, SHA-1: the last six of eight digits."""
    secret = b"12345678901234567890"
    for moment, code in ((59, "287082"), (1_111_111_109, "081804"), (20_000_000_000, "353130")):
        assert second_factor.code(secret, datetime.fromtimestamp(moment, UTC)) == code


def test_a_code_is_taken_once_and_its_neighbours_forgiven() -> None:
    secret = second_factor.new_secret()
    now = datetime(2026, 11, 24, 6, 0, 5, tzinfo=UTC)
    half_minute = timedelta(seconds=second_factor.STEP)
    here = second_factor.step_of(secret, second_factor.code(secret, now), now, after=None)
    assert here is not None
    assert second_factor.step_of(secret, second_factor.code(secret, now - half_minute), now, after=None) == here - 1
    assert second_factor.step_of(secret, second_factor.code(secret, now), now, after=here) is None
    assert second_factor.step_of(secret, second_factor.code(secret, now - half_minute), now, after=here) is None
    assert second_factor.step_of(secret, second_factor.code(secret, now - 2 * half_minute), now, after=None) is None
    for nonsense in ("", "12345", "1234567", "١٢٣٤٥٦", "abcdef"):
        assert second_factor.step_of(secret, nonsense, now, after=None) is None


def test_a_code_that_was_seen_opens_no_second_session(database: Database, settings: Settings) -> None:
    number = operator(database)
    _, secret = enrolled(database, settings, number)
    now = datetime.now(UTC)
    code = second_factor.code(secret, now)
    for verdict in (Verdict.TAKEN, Verdict.WRONG):
        with database.transaction() as session:
            token = sessions.begin(session, settings, number, "")
            seat = sessions.read(session, settings, token)
            assert seat is not None
            assert seat.enrolled
            assert sessions.verify(session, settings, seat, code, now=now)[0] is verdict


def test_five_wrong_codes_lock_even_the_right_one_out_for_a_while(database: Database, settings: Settings) -> None:
    number = operator(database)
    _, secret = enrolled(database, settings, number)
    now = datetime.now(UTC)
    right = second_factor.code(secret, now)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"
    with database.transaction() as session:
        seat = sessions.read(session, settings, sessions.begin(session, settings, number, ""))
        assert seat is not None
        verdicts = [
            sessions.verify(session, settings, seat, code, now=now)[0]
            for code in (*[wrong] * sessions.WRONG_CODES, right)
        ]
        later = now + sessions.LOCKED
        assert sessions.verify(session, settings, seat, second_factor.code(secret, later), now=later)[0] == "taken"
    assert verdicts == ["wrong"] * 4 + ["locked"] * 2
    assert acts(database).count("code refused") == 5


def test_the_secret_is_sealed_for_its_operator_under_the_installations_secret(settings: Settings) -> None:
    secret = second_factor.new_secret()
    stored = second_factor.sealed(settings, 1, secret)
    assert secret not in stored
    assert second_factor.opened(settings, 1, stored) == secret
    other = Settings(database_url=settings.database_url, secret=SecretStr("another-secret-of-the-tests-0123456789"))
    for held, number in ((settings, 2), (other, 1)):
        with pytest.raises(SecondFactorError, match="reset-totp"):
            second_factor.opened(held, number, stored)


# ---- sessions --------------------------------------------------------------------------------------------------------


def test_a_session_ends_by_rest_by_age_and_by_hand(database: Database, settings: Settings) -> None:
    number = operator(database)
    token, _ = enrolled(database, settings, number)
    now = datetime.now(UTC)

    def sits(moment: datetime) -> bool:
        with database.transaction() as session:
            return sessions.read(session, settings, token, now=moment) is not None

    assert sits(now)
    assert not sits(now + timedelta(minutes=settings.operator_idle_minutes))
    with database.transaction() as session:
        session.execute(update(OperatorSession).values(seen_at=now + timedelta(hours=12)))
    assert not sits(now + timedelta(hours=settings.operator_session_hours)), "however busy"
    assert sits(now)
    with database.transaction() as session:
        assert sessions.end(session, number, by=None) == 1
        assert session.scalar(select(func.count()).select_from(OperatorSession)) == 0
    assert not sits(now)


def test_a_session_that_is_signed_out_elsewhere_is_at_the_door_again(
    seated: Callable[[OperatorRole], TestClient], database: Database
) -> None:
    browser = seated(OperatorRole.OWNER)
    page = browser.get("/admin/sessions").text
    number = html.fromstring(page).xpath("string(//input[@name='session_id']/@value)")
    assert browser.post("/admin/sessions/end", data={"csrf": csrf(page), "session_id": number}).status_code == 303
    assert browser.get("/admin/sessions").headers["location"] == "/admin/sign-in"
    assert acts(database)[-1] == "signed out"


def test_a_reset_signs_out_and_enrols_anew(database: Database, settings: Settings) -> None:
    number = operator(database)
    token, old = enrolled(database, settings, number)
    with database.transaction() as session:
        accounts.reset_second_factor(session, number, by=None)
        assert sessions.read(session, settings, token) is None
    _, new = enrolled(database, settings, number)
    assert new != old


# ---- rights ----------------------------------------------------------------------------------------------------------


def test_a_role_too_low_is_told_in_one_line_and_changes_nothing(
    seated: Callable[[OperatorRole], TestClient], database: Database, settings: Settings
) -> None:
    owner = operator(database, email="owner@example.net")
    for role in (OperatorRole.VIEWER, OperatorRole.EDITOR):
        browser = seated(role)
        page = browser.get("/admin/operators")
        assert page.status_code == 403
        assert f"needs the role owner; yours is {role}" in page.text
        form = {"csrf": csrf(browser.get("/admin/sessions").text), "operator_id": owner, "role": "viewer"}
        assert browser.post("/admin/operators/role", data=form).status_code == 403
        assert "/admin/operators" not in browser.get("/admin/log").text
    with database.transaction() as session:
        assert accounts.listing(session, settings)[0].role is OperatorRole.OWNER


def test_an_owner_changes_roles_and_never_leaves_nobody(
    seated: Callable[[OperatorRole], TestClient], database: Database, settings: Settings
) -> None:
    browser = seated(OperatorRole.OWNER)
    other = operator(database, OperatorRole.VIEWER, "vera@example.org")
    page = browser.get("/admin/operators").text
    assert "vera@example.org" in page
    form = {"csrf": csrf(page), "operator_id": other, "role": "editor"}
    assert browser.post("/admin/operators/role", data=form).status_code == 303
    only = browser.post("/admin/operators/role", data=form | {"operator_id": 1})
    assert only.status_code == 409
    assert "only owner" in only.text
    with database.transaction() as session:
        assert [each.role for each in accounts.listing(session, settings)] == ["owner", "editor"]
        with pytest.raises(OperatorError, match="only owner"):
            accounts.remove(session, 1, by=None)
    assert acts(database)[-1] == "role changed"


def test_a_form_without_the_sessions_field_or_from_elsewhere_is_refused(
    seated: Callable[[OperatorRole], TestClient], database: Database
) -> None:
    browser = seated(OperatorRole.OWNER)
    good = csrf(browser.get("/admin/sessions").text)
    for value in ("", "0" * 64, good.upper()):
        assert browser.post("/admin/operators/sign-out", data={"csrf": value, "operator_id": 1}).status_code == 403
    foreign = {"sec-fetch-site": "cross-site"}
    form = {"csrf": good, "operator_id": 1}
    assert browser.post("/admin/operators/sign-out", data=form, headers=foreign).status_code == 403
    assert "signed out" not in acts(database)
    assert browser.post("/admin/operators/sign-out", data=form).status_code == 303


def test_nobody_sees_a_page_without_a_session(browser: TestClient, database: Database, settings: Settings) -> None:
    desk = Desk(Site(settings, database))
    found = [route for page in (*DOORS, *PAGES) for route in page.routes(desk).routes if isinstance(route, APIRoute)]
    ways = {(method, route.path) for route in found for method in route.methods or () if "{" not in route.path}
    assert len(ways) > 5
    for method, path in ways - {("GET", "/admin/sign-in"), *(("POST", f"/admin/sign-in{way}") for way in WITHOUT)}:
        answer = browser.request(method, path)
        # A form that lacks a field is refused before it is looked at.
        assert answer.headers.get("location") == "/admin/sign-in" or (method, answer.status_code) == ("POST", 422), path


# ---- the log ---------------------------------------------------------------------------------------------------------


def test_the_log_takes_no_change_and_no_address(database: Database) -> None:
    with database.transaction() as session:
        audit.record(session, None, Act.SIGNED_OUT, "reader 7", "asked by ada@example.org,\nat once")
        (line,) = audit.page(session, limit=9).lines
    assert line.detail == "asked by (an address) at once"
    for statement in ("UPDATE audit_event SET act = 'x'", "DELETE FROM audit_event"):
        with pytest.raises(DBAPIError, match="append-only"), database.connection() as connection:
            connection.execute(text(statement))


def test_the_log_is_read_by_who_and_what_page_by_page(
    seated: Callable[[OperatorRole], TestClient], database: Database
) -> None:
    browser = seated(OperatorRole.VIEWER)
    with database.transaction() as session:
        for number in range(60):
            audit.record(session, None, Act.LINK_PRINTED, f"operator {number}")
    page = browser.get("/admin/log", params={"act": "link printed"})
    assert "operator 59" in page.text
    assert "operator 9<" not in page.text
    older = html.fromstring(page.text).xpath("string(//a[@rel='next']/@href)")
    assert "operator 9<" in browser.get(older).text
    own = browser.get("/admin/log", params={"operator": "1"}).text
    assert "signed in" in own
    assert "operator 59" not in own


def test_what_was_done_is_told_on_the_next_page_to_its_operator_alone(
    seated: Callable[[OperatorRole], TestClient], database: Database
) -> None:
    browser = seated(OperatorRole.VIEWER)
    with database.transaction() as session:
        mine = audit.record(session, 1, Act.SIGNED_IN, "session 77", "told once")
        others = audit.record(session, None, Act.SIGNED_IN, "session 78", "not told")
        assert session.get(Operator, 1) is not None
    assert "Done: signed in. session 77. told once" in browser.get(f"/admin/sessions?done={mine}").text
    for number in (others, "9" * 30, "-1", "x"):
        assert "Done:" not in browser.get(f"/admin/sessions?done={number}").text
