"""The site and the workers do their work with the rights of their roles, and are refused what is not theirs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import create_engine, make_url, select, text, update
from sqlalchemy.exc import ProgrammingError

from service import backup, retention, rounds, task_runs
from service.backup import BackupError
from service.database import Database, DatabaseError, months, roles
from service.database.tables import Base, Delivery, DeliveryState, Digest, Reader, ReaderState, ReturnKind
from service.digests import notes, resend, trial
from service.digests.dry_run import DryRun
from service.operators import accounts, passkeys, rotation, second_factor, sessions
from service.overview import days, story
from service.overview.trouble import Remedy
from service.papers import ingest
from service.settings import Settings
from service.subscribers import hash_key, returned
from service.subscribers.returned import Return
from service.subscribers.tokens import Links
from service.subscribers.topics import catalogue, edits
from service.web.admin import navigation
from service.web.admin.desk import COOKIE
from service.web.app import create_app
from tests import factories
from tests.delivery.servers import sink
from tests.operators.authenticator import Authenticator
from tests.operators.conftest import csrf, link, operator


@pytest.fixture
def as_role(database: Database, migrated_url: str) -> Iterator[dict[str, Database]]:
    """The database of the test, opened by a user of each role."""
    roles.grant(database)
    roles.grant(database)  # may be run again
    server = create_engine(make_url(migrated_url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    opened = {}
    with server.connect() as connection:
        for name in ("web", "worker"):
            connection.execute(text(f"CREATE ROLE trial_{name} LOGIN PASSWORD 'trial' IN ROLE paperround_{name}"))
            url = make_url(migrated_url).set(username=f"trial_{name}", password="trial")
            opened[name] = Database(url.render_as_string(hide_password=False))
        yield opened
        for name, each in opened.items():
            each.close()
            connection.execute(text(f"DROP ROLE trial_{name}"))
    server.dispose()


def test_an_operator_edits_looks_and_mails_with_the_sites_rights(
    as_role: dict[str, Database], database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, "ada@example.org", topics=["surveys"])
    factories.edition(database, factories.record("A Survey of Robots"))
    rounds.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        session.execute(update(Delivery).values(state=DeliveryState.SENT))
        digest = session.scalars(select(Digest.id)).one()
        # A look computes in memory what it may not write.
        session.execute(text("DELETE FROM match"))
        session.execute(update(Reader).values(last_edition_id=0))
    site = as_role["web"]
    shown = DryRun(site, settings).now(reader)
    assert "A Survey of Robots" in shown.mail.text
    with site.transaction() as session:
        resend.resend(session, settings, digest)
        trial.send(session, settings, "edith@example.org", shown)
        edits.edit(session, replace(edits.find(session, "surveys").entry, query="robots"))
        notes.withdraw(session, notes.save(session, "A note.").id)
        assert story.of(session, settings, reader) is not None
        returned.suppress(session, settings, "ada@example.org", "asked")
        returned.lift(session, settings, "ada@example.org")
    with as_role["worker"].transaction() as session:
        notes.save(session, "By command.")
    factories.edition(database, factories.record("Robots"))
    rounds.plan_due(as_role["worker"], settings, everyone=True)
    with pytest.raises(ProgrammingError, match="permission denied"), site.transaction() as session:
        session.execute(text("UPDATE editor_note SET words = 'other words'"))


def test_the_site_does_its_work_with_its_rights(
    as_role: dict[str, Database], database: Database, settings: Settings
) -> None:
    catalogue.sync(database)
    factories.edition(database, factories.record("Walking Robots"))
    bounced = factories.reader(database, settings, "bounced@example.org", queries=["robots"])
    site = as_role["web"]
    with TestClient(create_app(settings, site), base_url="https://papers.example", follow_redirects=False) as browser:
        for path in (
            "/",
            "/days",
            "/topics",
            "/search?q=robots",
            "/papers/1",
            "/feeds/papers.atom",
            "/sitemap.xml",
            "/readyz",
        ):
            assert browser.get(path).status_code in (200, 301, 302, 307), path
        form = {
            "email": "ada@example.org",
            "queries": "robots",
            "hour": "6",
            "timezone": "UTC",
            "limit": "5",
            "weekday": ["0"],
        }
        assert "Check your inbox" in browser.post("/subscribe", data=form).text
        with database.transaction() as session:
            ada = session.scalars(select(Reader.id).where(Reader.email == "ada@example.org")).one()
        links = Links(settings)
        for link, body in (
            (links.confirm(ada), {}),
            (links.preferences(ada), form | {"hour": "9"}),
            (links.unsubscribe(ada), {"List-Unsubscribe": "One-Click"}),
        ):
            answer = browser.post(link.removeprefix("https://papers.example"), data=body)
            assert answer.status_code < 400, (link, answer.text)
        leaver = factories.reader(database, settings, "eve@example.org", queries=["robots"])
        assert browser.post(links.sign_in(leaver).removeprefix("https://papers.example")).status_code == 303
        assert "consent" in browser.get("/account/data.json").json()
        assert browser.post("/account/delete").status_code == 200
    with site.transaction() as session:
        returned.take(session, settings, Return(ReturnKind.HARD_BOUNCE, "ses", "1", reader_id=bounced))
    with database.transaction() as session:
        states = dict(session.execute(select(Reader.email, Reader.state)).all())
    assert states["ada@example.org"] == ReaderState.UNSUBSCRIBED
    assert states["bounced@example.org"] != ReaderState.ACTIVE


def test_operators_do_their_work_with_the_sites_rights(
    as_role: dict[str, Database], database: Database, settings: Settings
) -> None:
    number = operator(database)
    with TestClient(
        create_app(settings, as_role["web"]), base_url="https://papers.example", follow_redirects=False
    ) as browser:
        assert browser.post("/admin/sign-in", data={"email": "olga@example.org"}).status_code == 200
        assert browser.post(link(settings, number)).status_code == 303
        with database.transaction() as session:
            seat = sessions.read(session, settings, browser.cookies.get(COOKIE))
            assert seat is not None
            secret = sessions.enrolment(session, settings, seat)
        code = {"csrf": seat.csrf, "code": second_factor.code(secret, datetime.now(UTC))}
        assert browser.post("/admin/code", data=code).headers["location"] == "/admin"
        for entry in navigation.ENTRIES:
            assert browser.get(entry.path).status_code == 200, entry.path
        form = {"csrf": csrf(browser.get("/admin").text)}
        for path in ("/admin/pause", "/admin/resume"):
            assert browser.post(path, data=form).status_code == 303, path
        for remedy in Remedy:
            subject = {Remedy.RUN_TASK: "send.due", Remedy.READ_AGAIN: "arxiv 2026-01-01"}.get(remedy, "")
            # Of the day nothing is known, which is told; whatever else is refused would be a fault (500).
            answer = browser.post("/admin/trouble", data=form | {"remedy": remedy, "subject": subject})
            assert answer.status_code == (409 if remedy is Remedy.READ_AGAIN else 303), (remedy, answer.text)
        for device in (Authenticator(), Authenticator(), Authenticator()):
            options = browser.post("/admin/sessions/passkey/ask", data=form).text
            made = form | {"credential": device.create(options)}
            assert browser.post("/admin/sessions/passkey", data=made).headers["location"] == "/admin/sessions"
        assert browser.post("/admin/sessions/passkey/remove", data=form | {"passkey_id": "1"}).status_code == 303
        assert browser.post("/admin/sign-out", data=form).status_code == 303
        options = browser.post("/admin/sign-in/passkey/ask").text
        signed = browser.post("/admin/sign-in/passkey", data={"credential": device.get(options)})
        assert signed.headers["location"] == "/admin"
    with as_role["worker"].transaction() as session:
        assert [each.passkeys for each in accounts.listing(session, settings)] == [2]
        assert [each.id for each in passkeys.listing(session, number)] == [2, 3]
        passkeys.remove_by_command(session, number, 2)


def test_the_workers_do_a_whole_round_with_their_rights(
    as_role: dict[str, Database], database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, queries=["robots"])
    hands = as_role["worker"]
    with sink() as server:
        used = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"})
        ingest.ingest(hands, factories.Listed(factories.record("Walking Robots")), factories.TODAY)
        report = rounds.run(hands, used, everyone=True)
        ingest.prune(hands)
        task_runs.record(hands, "send.due", 1.0, None)
        task_runs.prune(hands)
        assert retention.apply(hands, used, now=datetime.now(UTC) + timedelta(days=500)).months >= 1
        assert months.make_ahead(hands) == 1 + months.AHEAD
        days.close(hands)
    assert report.sent == 1


@pytest.mark.parametrize(
    ("role", "statement"),
    [
        ("web", "UPDATE delivery SET lease_owner = 'me'"),
        ("web", "DELETE FROM audit_event"),
        ("web", "SELECT shorten_audit_log(now() - interval '1000 days')"),
        ("worker", "DELETE FROM audit_event"),
        ("web", "INSERT INTO operator (email, address_key, role) VALUES ('x', 'x', 'owner')"),
        ("web", "DELETE FROM operator"),
        ("worker", "UPDATE audit_event SET act = ''"),
        ("web", "UPDATE passkey SET public_key = ''"),
        ("web", "UPDATE passkey SET operator_id = 1"),
        ("worker", "UPDATE passkey SET user_verified = true"),
        ("worker", "SELECT public_key FROM passkey"),
        ("web", "UPDATE delivery SET reader_id = 1"),
        ("web", "INSERT INTO digest (reader_id) VALUES (1)"),
        ("web", "UPDATE paper SET title = 'Other'"),
        ("web", "DELETE FROM paper"),
        ("web", "UPDATE consent_event SET kind = 'confirmed'"),
        ("web", "DELETE FROM consent_event"),
        ("web", "SELECT * FROM fetched_body"),
        ("web", "SELECT * FROM reader_import"),
        ("web", "TRUNCATE reader"),
        ("web", "CREATE TABLE mine (id int)"),
        ("web", "SELECT make_month(900)"),
        ("web", "SELECT drop_month('2026_11', now())"),
        ("worker", "DROP TABLE delivery"),
        ("worker", "CREATE TABLE mine PARTITION OF digest FOR VALUES FROM (1) TO (2)"),
        ("worker", "UPDATE consent_event SET kind = 'confirmed'"),
        ("worker", "DELETE FROM return_event"),
        ("worker", "UPDATE edition SET paper_count = 1"),
        ("worker", "SELECT digest FROM access_token"),
        ("worker", "ALTER TABLE reader ADD COLUMN mine int"),
        ("worker", "UPDATE alembic_version SET version_num = '0001'"),
        ("web", "UPDATE hash_key SET sealed = ''"),
        ("worker", "DELETE FROM hash_key"),
    ],
)
def test_what_is_not_theirs_is_refused(as_role: dict[str, Database], role: str, statement: str) -> None:
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be owner"),
        as_role[role].connection() as connection,
    ):
        connection.execute(text(statement))


def test_a_backup_holds_no_rights_and_granting_brings_them_back(
    database: Database, settings: Settings, tmp_path: Path
) -> None:
    def readers(role: str) -> int:
        with database.connection() as connection:
            connection.execute(text(f"SET LOCAL ROLE paperround_{role}"))
            return int(connection.execute(text("SELECT count(*) FROM public.reader")).scalar_one())

    roles.grant(database)
    backup.backup(database, settings, tmp_path / "house.backup")
    backup.restore(database, settings, tmp_path / "house.backup")
    for role in ("web", "worker"):
        with pytest.raises(ProgrammingError, match="permission denied"):
            readers(role)
    roles.grant(database)
    assert readers("web") == readers("worker") == 0


@pytest.mark.parametrize("first", ["web", "worker"])
def test_whoever_is_first_makes_the_key_of_hashes_and_a_command_seals_it_anew(
    as_role: dict[str, Database], settings: Settings, first: str
) -> None:
    hash_key.bind(as_role[first], settings)
    rotated = Settings.model_validate(
        settings.model_dump() | {"secret": "a-new-secret-of-the-tests-0123456789", "old_secrets": settings.signing_key}
    )
    for each in as_role.values():
        hash_key.bind(each, rotated)
    with as_role["worker"].transaction() as session:
        assert rotation.reseal(session, rotated).hash_key
    assert rotated.address_hash_key == settings.address_hash_key


def test_a_role_without_the_rights_of_this_version_is_told_in_one_line(
    as_role: dict[str, Database], database: Database, settings: Settings
) -> None:
    with database.connection() as connection:
        connection.execute(text("REVOKE ALL ON hash_key FROM paperround_web"))
    with pytest.raises(DatabaseError, match="migrate --grant"):
        hash_key.bind(as_role["web"], settings)


def test_a_backup_wants_the_owner_and_says_so_in_one_line(
    as_role: dict[str, Database], settings: Settings, tmp_path: Path
) -> None:
    for role in as_role.values():
        with pytest.raises(BackupError, match="permission denied"):
            backup.backup(role, settings, tmp_path / "house.backup")
    assert not any(tmp_path.glob("*backup*"))


def test_who_may_not_grant_is_told_in_one_line(as_role: dict[str, Database]) -> None:
    with pytest.raises(DatabaseError, match="owner of the tables"):
        roles.grant(as_role["web"])


def test_every_table_is_granted_to_somebody() -> None:
    granted = set(re.findall(r"\w+", " ".join(re.findall(r" ON ([^;]+) TO ", roles.GRANTS.read_text()))))
    assert {table.name for table in Base.metadata.sorted_tables} - granted == set()
