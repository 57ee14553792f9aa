"""Passkeys: what they open, what is refused, and what is written down. Everything is truly signed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from lxml import html
from sqlalchemy import select, update

from service.database import Database
from service.database.tables import AuditEvent, Operator, OperatorRole, OperatorSession, Passkey
from service.operators import accounts, ceremonies, challenges, passkeys, second_factor, sessions
from service.operators.accounts import OperatorError
from service.operators.ceremonies import Refusal
from service.operators.sessions import Seat, Verdict
from service.settings import Settings
from service.web.admin.desk import COOKIE
from tests.operators.authenticator import Authenticator
from tests.operators.conftest import csrf, enrolled, link, operator


def told(database: Database) -> list[tuple[str, str, str]]:
    """The lines of the log about passkeys: act, subject, detail."""
    with database.transaction() as session:
        lines = select(AuditEvent.act, AuditEvent.subject, AuditEvent.detail).order_by(AuditEvent.id)
        return [(act, subject, detail) for act, subject, detail in session.execute(lines) if "passkey" in act]


def seat_of(database: Database, settings: Settings, token: str) -> Seat:
    with database.transaction() as session:
        seat = sessions.read(session, settings, token)
    assert seat is not None
    return seat


def came_by_link(database: Database, settings: Settings, operator_id: int) -> Seat:
    with database.transaction() as session:
        token = sessions.begin(session, settings, operator_id, "a browser")
    return seat_of(database, settings, token)


def fresh(database: Database, settings: Settings, operator_id: int) -> Seat:
    """A session with a second factor given a moment ago."""
    seat = came_by_link(database, settings, operator_id)
    with database.transaction() as session:
        token = sessions.admit(session, operator_id, seat.session_id, again=False, now=datetime.now(UTC))
    return seat_of(database, settings, token)


def enrol(database: Database, settings: Settings, operator_id: int, device: Authenticator) -> Authenticator:
    seat = fresh(database, settings, operator_id)
    with database.transaction() as session:
        question = ceremonies.ask_to_enrol(session, settings, seat)
        answer = ceremonies.enrol(session, settings, seat, question.cookie, device.create(question.options), "Blue key")
    assert answer.refusal is None
    return device


def give(database: Database, settings: Settings, seat: Seat, device: Authenticator) -> Refusal | None:
    """The second factor in a session."""
    with database.transaction() as session:
        question = ceremonies.ask_to_verify(session, settings, seat)
        return ceremonies.verify(session, settings, seat, question.cookie, device.get(question.options)).refusal


def alone(database: Database, settings: Settings, device: Authenticator) -> Refusal | None:
    """Straight from the door."""
    question = ceremonies.ask_at_the_door(settings)
    with database.transaction() as session:
        return ceremonies.sign_in(session, settings, question.cookie, device.get(question.options), "a browser").refusal


@pytest.fixture
def olga(database: Database) -> int:
    return operator(database)


# ---- what they open --------------------------------------------------------------------------------------------------


def test_a_passkey_in_place_of_an_app_then_after_the_link_then_alone(
    browser: TestClient, database: Database, settings: Settings, olga: int
) -> None:
    device = Authenticator()
    browser.post(link(settings, olga))
    page = browser.get("/admin/code").text
    form = {"csrf": csrf(page)}
    options = browser.post("/admin/code/passkey/ask", data=form)
    cookie = options.headers["set-cookie"].lower()
    assert {"httponly", "secure", "samesite=strict", "path=/admin", "max-age=300"} <= set(cookie.split("; "))
    seen = browser.cookies.get(COOKIE)
    answer = browser.post("/admin/code/passkey", data=form | {"credential": device.create(options.text)})
    assert answer.headers["location"] == "/admin"
    assert browser.cookies.get(COOKIE) != seen
    assert "Passkey of 20" in browser.get("/admin/sessions").text

    browser.cookies.clear()
    with database.transaction() as session:  # not by the link: within one second it would be the same, and spent
        token = sessions.begin(session, settings, olga, "a browser")
    browser.cookies.set(COOKIE, token, domain="papers.example", path="/admin")
    page = browser.get("/admin/code").text
    assert "<svg" not in page, "the link alone sets no app up beside a passkey"
    assert not html.fromstring(page).xpath("//input[@name='code']")
    form = {"csrf": csrf(page)}
    assert browser.post("/admin/code", data=form | {"code": "123456"}).status_code == 409
    options = browser.post("/admin/code/passkey/ask", data=form)
    answer = browser.post("/admin/code/passkey", data=form | {"credential": device.get(options.text)})
    assert answer.headers["location"] == "/admin"

    browser.cookies.clear()
    options = browser.post("/admin/sign-in/passkey/ask")
    assert json.loads(options.text)["userVerification"] == "required"
    answer = browser.post("/admin/sign-in/passkey", data={"credential": device.get(options.text)})
    assert answer.headers["location"] == "/admin"
    assert browser.get("/admin").status_code == 200
    assert told(database) == [
        ("passkey enrolled", "passkey 1", ""),
        ("passkey used", "passkey 1", ""),
        ("passkey used", "passkey 1", "alone"),
    ]


def test_codes_and_passkeys_serve_side_by_side(
    seated: Callable[[OperatorRole], TestClient], database: Database, settings: Settings
) -> None:
    browser = seated(OperatorRole.VIEWER)
    form = {"csrf": csrf(browser.get("/admin/sessions").text)}
    options = browser.post("/admin/sessions/passkey/ask", data=form).text
    posted = form | {"credential": Authenticator().create(options), "name": " Blue\x00  key <b>"}
    assert browser.post("/admin/sessions/passkey", data=posted).status_code == 303
    page = browser.get("/admin/sessions").text
    assert "Blue key &lt;b&gt;" in page
    assert "Codes of an authenticator app are set up" in page
    with database.transaction() as session:
        (view,) = accounts.listing(session, settings)
        assert (view.passkeys, view.enrolled_at is not None) == (1, True)


def test_who_came_with_a_passkey_sets_up_codes_beside_it(
    browser: TestClient, database: Database, settings: Settings, olga: int
) -> None:
    device = enrol(database, settings, olga, Authenticator())
    options = browser.post("/admin/sign-in/passkey/ask").text
    browser.post("/admin/sign-in/passkey", data={"credential": device.get(options)})
    page = browser.get("/admin/sessions/app").text
    assert "<svg" in page
    with database.transaction() as session:
        seat = sessions.read(session, settings, browser.cookies.get(COOKIE))
        assert seat is not None
        code = second_factor.code(sessions.enrolment(session, settings, seat), datetime.now(UTC))
    answer = browser.post("/admin/sessions/app", data={"csrf": csrf(page), "code": code})
    assert answer.headers["location"] == "/admin/sessions"
    assert browser.get("/admin/sessions/app").headers["location"] == "/admin/sessions", "once is enough"
    assert "Codes of an authenticator app are set up" in browser.get("/admin/sessions").text


def test_wrong_codes_lock_no_passkey(database: Database, settings: Settings, olga: int) -> None:
    enrolled(database, settings, olga)
    device = enrol(database, settings, olga, Authenticator())
    seat = came_by_link(database, settings, olga)
    with database.transaction() as session:
        verdicts = [sessions.verify(session, settings, seat, "12345")[0] for _ in range(sessions.WRONG_CODES)]
    assert verdicts[-1] is Verdict.LOCKED
    assert give(database, settings, seat, device) is None


def test_what_authenticators_are_told_names_no_address(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator())
    with database.transaction() as session:
        handle = session.scalars(select(Operator.passkey_handle)).one()
        asked = json.loads(ceremonies.ask_to_enrol(session, settings, fresh(database, settings, olga)).options)
    assert handle == device.user_handle
    assert len(handle or b"") == 64
    assert asked["rp"] == {"id": "papers.example", "name": "Paperround"}
    assert asked["attestation"] == "none"
    excluded = [base64.urlsafe_b64decode(each["id"] + "==") for each in asked["excludeCredentials"]]
    assert excluded == [device.credential_id]


def test_a_security_key_that_attests_by_itself_is_taken(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator(self_attests=True, counts=True))
    assert give(database, settings, came_by_link(database, settings, olga), device) is None


# ---- what is refused -------------------------------------------------------------------------------------------------

FORGERIES: dict[str, Callable[[Authenticator], Authenticator]] = {
    "from another origin": lambda device: replace(device, origin="https://papers.example.evil.example"),
    "over plain HTTP": lambda device: replace(device, origin="http://papers.example"),
    "for another site": lambda device: replace(device, rp_id="evil.example"),
    "nobody touched it": lambda device: replace(device, present=False),
}


@pytest.mark.parametrize("bend", FORGERIES.values(), ids=list(FORGERIES))
def test_a_forged_answer_is_refused_in_every_ceremony_and_written_down(
    database: Database, settings: Settings, olga: int, bend: Callable[[Authenticator], Authenticator]
) -> None:
    device = enrol(database, settings, olga, Authenticator())
    seat = fresh(database, settings, olga)
    with database.transaction() as session:
        question = ceremonies.ask_to_enrol(session, settings, seat)
        made = bend(Authenticator()).create(question.options)
        assert ceremonies.enrol(session, settings, seat, question.cookie, made, "").refusal is Refusal.INVALID
    forged = bend(device)
    assert give(database, settings, came_by_link(database, settings, olga), forged) is Refusal.INVALID
    assert alone(database, settings, forged) is Refusal.INVALID
    assert [line[0] for line in told(database)] == ["passkey enrolled"] + ["passkey refused"] * 3
    assert alone(database, settings, device) is None, "the true one serves on"


def test_another_key_under_a_known_name_opens_nothing(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator())
    thief = replace(device, key=ec.generate_private_key(ec.SECP256R1()))
    assert give(database, settings, came_by_link(database, settings, olga), thief) is Refusal.INVALID
    assert alone(database, settings, thief) is Refusal.INVALID


def test_an_answer_of_the_other_kind_is_refused(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator())
    question = ceremonies.ask_at_the_door(settings)
    seat = fresh(database, settings, olga)
    with database.transaction() as session:
        signed = device.get(question.options, kind="webauthn.create")
        assert ceremonies.sign_in(session, settings, question.cookie, signed, "").refusal is Refusal.INVALID
        question = ceremonies.ask_to_enrol(session, settings, seat)
        made = Authenticator().create(question.options, kind="webauthn.get")
        assert ceremonies.enrol(session, settings, seat, question.cookie, made, "").refusal is Refusal.INVALID


def test_a_challenge_counts_once(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator())
    question = ceremonies.ask_at_the_door(settings)
    signed = device.get(question.options)
    opened = []
    for written in (signed, signed, device.get(question.options)):
        with database.transaction() as session:
            opened.append(ceremonies.sign_in(session, settings, question.cookie, written, "").refusal)
    assert opened == [None, Refusal.STALE, Refusal.STALE]
    # One that failed is spent, too: nobody tries twice on one challenge.
    question = ceremonies.ask_at_the_door(settings)
    for written, refusal in ((Authenticator().get(question.options), Refusal.UNKNOWN), (signed, Refusal.STALE)):
        with database.transaction() as session:
            assert ceremonies.sign_in(session, settings, question.cookie, written, "").refusal is refusal
    assert told(database)[-1] == ("passkey refused", "passkey 1", Refusal.STALE)


def test_of_two_answers_at_once_one_opens(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator())
    question = ceremonies.ask_at_the_door(settings)
    signed = device.get(question.options)

    def answer(_: int) -> Refusal | None:
        with database.transaction() as session:
            return ceremonies.sign_in(session, settings, question.cookie, signed, "").refusal

    with ThreadPoolExecutor(4) as pool:
        refusals = list(pool.map(answer, range(4)))
    assert sorted(map(str, refusals)) == sorted(map(str, [None, *[Refusal.STALE] * 3]))


def test_a_challenge_is_for_one_purpose_one_session_and_five_minutes(
    database: Database, settings: Settings, olga: int
) -> None:
    device = enrol(database, settings, olga, Authenticator())
    seat, other = (came_by_link(database, settings, olga) for _ in range(2))
    sits = fresh(database, settings, olga)
    now = datetime.now(UTC)
    with database.transaction() as session:
        asked = ceremonies.ask_to_verify(session, settings, seat, now=now)
        signed = device.get(asked.options)
        door = ceremonies.ask_at_the_door(settings, now=now)
        late = now + challenges.LIFETIME

        def verify(sits: Seat, cookie: str, written: str, moment: datetime) -> Refusal | None:
            return ceremonies.verify(session, settings, sits, cookie, written, now=moment).refusal

        assert verify(other, asked.cookie, signed, now) is Refusal.STALE, "another browser's"
        assert verify(seat, door.cookie, device.get(door.options), now) is Refusal.STALE, "another purpose"
        assert ceremonies.sign_in(session, settings, asked.cookie, signed, "", now=now).refusal is Refusal.STALE
        assert verify(seat, asked.cookie, signed, late) is Refusal.STALE, "too late"
        for cookie in ("", "x", asked.cookie[:-3] + "abc", asked.cookie.partition(".")[2]):
            assert verify(seat, cookie, signed, now) is Refusal.STALE, cookie
        assert verify(seat, asked.cookie, signed, late - timedelta(seconds=2)) is None

        asked = ceremonies.ask_to_enrol(session, settings, sits)
        wanted = json.loads(asked.options)
        signed = device.get(json.dumps({"challenge": wanted["challenge"], "rpId": "papers.example"}))
        assert verify(sits, asked.cookie, signed, now) is Refusal.STALE, "another purpose of the same session"
        wanted["challenge"] = json.loads(door.options)["challenge"]
        created = Authenticator().create(json.dumps(wanted))
        assert ceremonies.enrol(session, settings, sits, door.cookie, created, "").refusal is Refusal.STALE


def test_a_counter_that_goes_back_is_refused_and_written_down(
    database: Database, settings: Settings, olga: int
) -> None:
    device = enrol(database, settings, olga, Authenticator(counts=True, counter=7))
    copy = replace(device)
    assert alone(database, settings, device) is None
    assert alone(database, settings, copy) is Refusal.COUNTER
    assert give(database, settings, came_by_link(database, settings, olga), replace(copy, counter=0)) is Refusal.COUNTER
    assert told(database)[-1] == ("passkey refused", "passkey 1", Refusal.COUNTER)
    forged = replace(copy, key=ec.generate_private_key(ec.SECP256R1()), counter=0)
    assert alone(database, settings, forged) is Refusal.INVALID, "what nobody signed tells of no copy"
    assert alone(database, settings, device) is None


def test_another_operators_passkey_is_no_second_factor(database: Database, settings: Settings, olga: int) -> None:
    enrolled(database, settings, olga)
    vera = operator(database, OperatorRole.VIEWER, "vera@example.org")
    device = enrol(database, settings, vera, Authenticator())
    seat = came_by_link(database, settings, olga)
    assert give(database, settings, seat, device) is Refusal.OTHERS
    assert give(database, settings, seat, replace(device, user_handle=b"")) is Refusal.OTHERS
    mine = enrol(database, settings, olga, Authenticator())
    claimed = replace(mine, user_handle=device.user_handle)
    assert give(database, settings, seat, claimed) is Refusal.OTHERS
    assert alone(database, settings, claimed) is Refusal.OTHERS
    assert alone(database, settings, replace(mine, user_handle=b"")) is Refusal.OTHERS, "the door is told whose it is"
    assert give(database, settings, seat, replace(mine, user_handle=b"")) is None, "an older key need not say it"


def test_a_credential_belongs_to_one_operator(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator())
    vera = operator(database, OperatorRole.VIEWER, "vera@example.org")
    seat = fresh(database, settings, vera)
    with database.transaction() as session:
        question = ceremonies.ask_to_enrol(session, settings, seat)
        made = replace(device).create(question.options)
        assert ceremonies.enrol(session, settings, seat, question.cookie, made, "").refusal is Refusal.TWICE
        # The id beside what was signed is not believed.
        question = ceremonies.ask_to_enrol(session, settings, seat)
        other = json.loads(Authenticator().create(question.options))
        other["id"] = other["rawId"] = base64.urlsafe_b64encode(b"another").decode().rstrip("=")
        answer = ceremonies.enrol(session, settings, seat, question.cookie, json.dumps(other), "")
        assert answer.refusal is Refusal.INVALID
    assert alone(database, settings, device) is None


def test_a_key_without_its_pin_needs_the_link_until_it_has_one(
    database: Database, settings: Settings, olga: int
) -> None:
    key = enrol(database, settings, olga, Authenticator(verifies=False))
    assert alone(database, settings, key) is Refusal.NOT_ALONE
    with_pin = replace(key, verifies=True)
    assert alone(database, settings, with_pin) is Refusal.NOT_ALONE, "whoever found it may have set the PIN"
    assert give(database, settings, came_by_link(database, settings, olga), key) is None
    assert alone(database, settings, with_pin) is Refusal.NOT_ALONE
    assert give(database, settings, came_by_link(database, settings, olga), with_pin) is None
    assert alone(database, settings, with_pin) is None
    assert alone(database, settings, key) is Refusal.INVALID, "now it must be asked for each time"


@pytest.fixture
def asked(database: Database, settings: Settings, olga: int) -> tuple[str, str, Seat]:
    """What a device made and what it signed, all right but for the challenge's being new each time; and a session."""
    seat = fresh(database, settings, olga)
    device = enrol(database, settings, olga, Authenticator())
    with database.transaction() as session:
        options = ceremonies.ask_to_enrol(session, settings, seat).options
    return Authenticator().create(options), device.get(ceremonies.ask_at_the_door(settings).options), seat


@hypothesis_settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_nonsense_is_refused_and_breaks_nothing(
    database: Database, settings: Settings, asked: tuple[str, str, Seat], data: st.DataObject
) -> None:
    made, signed, seat = asked
    creates = data.draw(st.booleans())
    with database.transaction() as session:
        question = ceremonies.ask_to_enrol(session, settings, seat) if creates else ceremonies.ask_at_the_door(settings)
        written = bent(data, made if creates else signed, json.loads(question.options)["challenge"])
        if creates:
            answer = ceremonies.enrol(session, settings, seat, question.cookie, written, "")
        else:
            answer = ceremonies.sign_in(session, settings, question.cookie, written, "")
        # A made one carries no signature that would cover what was bent.
        assert creates or answer.refusal is not None
        session.rollback()


def bent(data: st.DataObject, written: str, challenge: str) -> str:
    """A credential with the right challenge and one thing wrong with it."""
    if data.draw(st.booleans()):
        return data.draw(st.one_of(st.text(), st.just("[" * 100_000), st.just("{}"), st.just("null"), st.just("7")))
    credential = json.loads(written)
    said = json.loads(base64.urlsafe_b64decode(credential["response"]["clientDataJSON"] + "=="))
    said["challenge"] = challenge
    credential["response"]["clientDataJSON"] = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
    part = data.draw(st.sampled_from(sorted(credential["response"])))
    if data.draw(st.booleans()):
        content = bytearray(base64.urlsafe_b64decode(credential["response"][part] + "=="))
        place = data.draw(st.integers(0, max(0, len(content) - 1)))
        content[place : place + 1] = data.draw(st.binary(max_size=3))
        credential["response"][part] = base64.urlsafe_b64encode(content).decode().rstrip("=")
    else:
        credential["response"][part] = data.draw(st.one_of(st.none(), st.integers(), st.text(), st.just([])))
    return json.dumps(credential)


def test_a_network_that_tries_too_often_waits(browser: TestClient) -> None:
    answers = [browser.post("/admin/sign-in/passkey/ask").status_code for _ in range(58)]
    answers += [browser.post("/admin/sign-in/passkey", data={"credential": "{}"}).status_code for _ in range(3)]
    assert answers == [200] * 58 + [403, 403, 429]
    assert browser.post("/admin/sign-in/passkey/ask").status_code == 429
    assert browser.post("/admin/sign-in", data={"email": "a@example.org"}).status_code == 429, "one door, one limit"


def test_another_site_cannot_post_an_answer(browser: TestClient) -> None:
    foreign = {"sec-fetch-site": "cross-site"}
    for path in ("/admin/sign-in/passkey/ask", "/admin/sign-in/passkey"):
        assert browser.post(path, headers=foreign).status_code == 403


# ---- who may enrol, and who may take away ----------------------------------------------------------------------------


def test_who_was_let_in_a_while_ago_gives_the_second_factor_once_more(
    seated: Callable[[OperatorRole], TestClient], database: Database, settings: Settings
) -> None:
    browser = seated(OperatorRole.VIEWER)
    enrol(database, settings, 1, Authenticator())
    with database.transaction() as session:
        past = datetime.now(UTC) - sessions.FRESH - timedelta(minutes=1)
        session.execute(update(OperatorSession).values(verified_at=past))
        session.execute(update(Operator).values(totp_step=0))
    page = browser.get("/admin/sessions").text
    assert "give your second factor once more" in page
    form = {"csrf": csrf(page)}
    refused = browser.post("/admin/sessions/passkey/ask", data=form)
    assert refused.status_code == 409
    assert "the second factor was not given just before" in refused.text
    posted = form | {"credential": "{}"}
    assert browser.post("/admin/sessions/passkey", data=posted).status_code == 403
    assert browser.post("/admin/sessions/passkey/remove", data=form | {"passkey_id": "1"}).status_code == 409
    assert browser.get("/admin").status_code == 200, "everything else goes on"
    page = browser.get("/admin/code").text
    with database.transaction() as session:
        seat = sessions.read(session, settings, browser.cookies.get(COOKIE))
        assert seat is not None
        code = second_factor.code(sessions.enrolment(session, settings, seat), datetime.now(UTC))
    answer = browser.post("/admin/code", data={"csrf": csrf(page), "code": code})
    assert answer.headers["location"] == "/admin/sessions"
    page = browser.get("/admin/sessions").text
    posted = {"csrf": csrf(page), "passkey_id": "1"}
    assert browser.post("/admin/sessions/passkey/remove", data=posted).status_code == 303
    assert told(database)[-1] == ("passkey removed", "passkey 1", "of operator 1")


def test_the_last_second_factor_stays(database: Database, settings: Settings, olga: int) -> None:
    first = enrol(database, settings, olga, Authenticator())
    seat = fresh(database, settings, olga)
    vera = operator(database, OperatorRole.VIEWER, "vera@example.org")
    enrol(database, settings, vera, Authenticator())
    with database.transaction() as session, pytest.raises(OperatorError, match="your only second factor"):
        passkeys.remove(session, seat, 1)
    enrol(database, settings, olga, Authenticator())
    with database.transaction() as session, pytest.raises(OperatorError, match="no passkey 2 of this operator"):
        passkeys.remove(session, seat, 2)
    with database.transaction() as session:
        passkeys.remove(session, seat, 3)
    assert alone(database, settings, first) is None


def test_the_link_alone_enrols_nothing_beside_what_is_there(database: Database, settings: Settings, olga: int) -> None:
    early = came_by_link(database, settings, olga)
    with database.transaction() as session:
        question = ceremonies.ask_to_enrol(session, settings, early)
    enrolled(database, settings, olga)
    with database.transaction() as session, pytest.raises(OperatorError, match="not given just before"):
        ceremonies.ask_to_enrol(session, settings, came_by_link(database, settings, olga))
    # Nor what was begun while there was none.
    with database.transaction() as session:
        made = Authenticator().create(question.options)
        answer = ceremonies.enrol(session, settings, early, question.cookie, made, "")
    assert answer.refusal is Refusal.NOT_NOW


def test_a_reset_of_codes_leaves_passkeys_and_sets_no_app_up_by_the_link(
    database: Database, settings: Settings, olga: int
) -> None:
    enrolled(database, settings, olga)
    device = enrol(database, settings, olga, Authenticator())
    with database.transaction() as session:
        accounts.reset_second_factor(session, olga, by=None)
    seat = came_by_link(database, settings, olga)
    with database.transaction() as session:
        code = second_factor.code(sessions.enrolment(session, settings, seat), datetime.now(UTC))
        assert sessions.verify(session, settings, seat, code)[0] is Verdict.NO_CODES
    assert give(database, settings, seat, device) is None


def test_a_lost_device_is_taken_away_by_command(database: Database, settings: Settings, olga: int) -> None:
    device = enrol(database, settings, olga, Authenticator())
    with database.transaction() as session:
        passkeys.remove_by_command(session, olga, 1)
    with database.transaction() as session:
        assert session.scalars(select(OperatorSession)).all() == [], "signed out everywhere"
        assert session.scalars(select(AuditEvent.operator_id).order_by(AuditEvent.id.desc())).first() is None
    assert told(database)[-1] == ("passkey removed", "passkey 1", "of operator 1")
    assert alone(database, settings, device) is Refusal.UNKNOWN
    assert not came_by_link(database, settings, olga).enrolled, "the next sign-in sets up anew"


def test_there_are_never_too_many(
    database: Database, settings: Settings, olga: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passkeys, "MOST", 1)
    enrol(database, settings, olga, Authenticator())
    with database.transaction() as session, pytest.raises(OperatorError, match="too many"):
        ceremonies.ask_to_enrol(session, settings, fresh(database, settings, olga))


def test_an_operator_who_goes_takes_their_passkeys_along(database: Database, settings: Settings, olga: int) -> None:
    enrol(database, settings, olga, Authenticator())
    with database.transaction() as session:
        accounts.remove(session, olga, by=None)
        assert session.scalars(select(Passkey)).all() == []


# ---- where there are any ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "party"),
    [
        ("https://papers.example", ("papers.example", "https://papers.example")),
        ("https://Papers.Example:443/", ("papers.example", "https://papers.example")),
        ("https://papers.example:8443", ("papers.example", "https://papers.example:8443")),
        ("https://papers.example/below", ("papers.example", "https://papers.example")),
        ("https://bücher.example", ("xn--bcher-kva.example", "https://xn--bcher-kva.example")),
        ("http://localhost:8000", ("localhost", "http://localhost:8000")),
        ("", ("localhost", "http://localhost:8000")),
        ("http://papers.example", None),
        ("https://192.0.2.7", None),
        ("https://[2001:db8::7]", None),
        ("http://127.0.0.1:8000", None),
        ("https://papers.example:port", None),
    ],
)
def test_the_site_is_known_by_its_own_address(settings: Settings, url: str, party: tuple[str, str] | None) -> None:
    found = passkeys.relying_party(settings.model_copy(update={"site_url": url.rstrip("/")}))
    assert (None if found is None else (found.id, found.origin)) == party


def test_a_site_that_can_have_none_offers_none(database: Database, settings: Settings, olga: int) -> None:
    from service.web.app import create_app

    plain = settings.model_copy(update={"site_url": "http://papers.example"})
    with TestClient(create_app(plain, database), base_url="http://papers.example", follow_redirects=False) as browser:
        assert "passkey.js" not in browser.get("/admin/sign-in").text
        refused = browser.post("/admin/sign-in/passkey/ask")
        assert (refused.status_code, "PAPERROUND_SITE_URL" in refused.text) == (409, True)
        browser.post(link(plain, olga))
        page = browser.get("/admin/code").text
        assert "<svg" in page
        assert "passkey.js" not in page
        vera = operator(database, OperatorRole.VIEWER, "vera@example.org")
        enrol(database, settings, vera, Authenticator())
        browser.post(link(plain, vera))
        assert "operators remove-passkey" in browser.get("/admin/code").text, "who has nothing else is told the way"
