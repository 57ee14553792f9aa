"""A new secret signs, old ones verify, and nobody is mailed who must not be."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from service import backup, doctor, secret_files
from service.backup import BackupError
from service.database import Database
from service.database.tables import HashKey, Operator, Suppression
from service.doctor import Verdict
from service.operators import challenges, rotation, second_factor, sessions
from service.operators.challenges import Ceremony
from service.operators.second_factor import SecondFactorError
from service.readiness import open_ready
from service.settings import Settings, SettingsError, load
from service.subscribers import access, addresses, erasure, hash_key, returned, suppression
from service.subscribers.consent import Visit
from service.subscribers.return_addresses import AddressPurpose, ForgedAddress, ReturnAddresses, SignedAddress
from service.subscribers.sign_in import Sessions
from service.subscribers.tokens import ForgedToken, Links, Purpose, TokenError
from service.web.serving.limits import Limits
from tests import factories
from tests.operators.conftest import enrolled, operator

NEW = "a-new-secret-that-only-the-tests-know-012345"
OTHER = "quite-another-secret-of-the-tests-0123456789"
NOW = datetime.now(UTC)


def signing(settings: Settings, secret: str, *old: str) -> Settings:
    """The same installation with these secrets, as a process that starts finds it."""
    return Settings.model_validate(settings.model_dump() | {"secret": secret, "old_secrets": " ".join(old)})


@pytest.fixture
def rotated(settings: Settings) -> Settings:
    return signing(settings, NEW, settings.signing_key)


@pytest.fixture
def dropped(settings: Settings) -> Settings:
    return signing(settings, NEW)


# ---- what is signed --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("purpose", Purpose)
def test_a_link_of_before_works_until_its_secret_is_dropped(
    purpose: Purpose, settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    token = Links(settings).token(purpose, 7)
    assert Links(rotated).read(purpose, token) == 7
    with pytest.raises(ForgedToken):
        Links(dropped).read(purpose, token)
    new = Links(rotated).token(purpose, 8)
    assert Links(dropped).read(purpose, new) == 8, "the new secret alone signs"
    with pytest.raises(ForgedToken):
        Links(settings).read(purpose, new)


def test_a_return_address_of_before_works_until_its_secret_is_dropped(settings: Settings) -> None:
    held = settings.model_copy(update={"return_domain": "returns.papers.example"})
    rotated, dropped = signing(held, NEW, held.signing_key), signing(held, NEW)

    def made(used: Settings, purpose: AddressPurpose) -> str:
        ours = ReturnAddresses(used)
        return ours.bounce(7) if purpose is AddressPurpose.BOUNCE else ours.unsubscribe(7) or ""

    for purpose in AddressPurpose:
        assert ReturnAddresses(rotated).read(made(held, purpose)) == SignedAddress(purpose, 7)
        assert ReturnAddresses(dropped).read(made(rotated, purpose)) == SignedAddress(purpose, 7)
        for reads, wrote in ((dropped, held), (held, rotated)):
            with pytest.raises(ForgedAddress):
                ReturnAddresses(reads).read(made(wrote, purpose))


def test_sessions_and_feeds_of_before_go_on_until_their_secret_is_dropped(
    database: Database, settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    reader = factories.reader(database, settings, "ada@example.org", queries=["robots"])
    with database.transaction() as session:
        before, after = (Sessions(each).made(session, reader) for each in (settings, rotated))
        assert [Sessions(rotated).read(session, each) for each in (before, after)] == [reader, reader]
        assert [Sessions(dropped).read(session, each) for each in (before, after)] == [None, reader]
        assert [Sessions(settings).read(session, each) for each in (before, after)] == [reader, None]
        key = access.feed_token(session, settings, reader)
        assert access.feed_reader(session, rotated, key) == reader
        with pytest.raises(TokenError):
            access.feed_reader(session, dropped, key)
        assert access.feed_reader(session, dropped, access.feed_token(session, rotated, reader)) == reader


def test_a_form_of_before_is_taken_until_its_secret_is_dropped(
    settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    def asks(used: Settings) -> Limits:
        return Limits(used.model_copy(update={"form_seconds": 0.5}))

    stamp = asks(settings).stamp()
    assert not asks(rotated).too_soon(stamp)
    assert asks(dropped).too_soon(stamp)
    assert not asks(dropped).too_soon(asks(rotated).stamp())


def test_an_operators_session_its_forms_and_challenges_outlive_a_rotation(
    database: Database, settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    token, _ = enrolled(database, settings, operator(database))
    with database.transaction() as session:
        before, during, after = (sessions.read(session, each, token) for each in (settings, rotated, dropped))
        assert before is not None
        assert during is not None
        assert after is not None
        assert before.csrf in during.forms
        assert during.csrf == after.csrf
        assert before.csrf not in after.forms

        def spent(used: Settings, forms: tuple[str, ...], *, issuer: Settings = settings) -> bool:
            _, cookie = challenges.issue(issuer, Ceremony.VERIFY, before.csrf, now=NOW)
            return challenges.spend(session, used, Ceremony.VERIFY, forms, cookie, now=NOW) is not None

        assert spent(rotated, during.forms)
        assert not spent(dropped, during.forms), "the cookie's signature"
        assert not spent(rotated, after.forms), "the session it was made for"


# ---- what is sealed --------------------------------------------------------------------------------------------------


def test_an_app_of_before_opens_the_door_and_is_sealed_anew_by_that(
    database: Database, settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    number = operator(database)
    token, secret = enrolled(database, settings, number)
    now = datetime.now(UTC)
    with database.transaction() as session:
        seat = sessions.read(session, rotated, token)
        assert seat is not None
        with pytest.raises(SecondFactorError, match="PAPERROUND_OLD_SECRETS"):
            sessions.verify(session, dropped, seat, second_factor.code(secret, now), now=now)
        verdict, _ = sessions.verify(session, rotated, seat, second_factor.code(secret, now), now=now)
        assert verdict is sessions.Verdict.TAKEN
        stored = session.scalars(select(Operator.totp_secret)).one() or b""
    assert second_factor.opened(dropped, number, stored) == secret
    with pytest.raises(SecondFactorError):
        second_factor.opened(settings, number, stored)


def test_one_command_seals_everything_anew_and_tells_what_is_left(
    database: Database, settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    hash_key.bind(database, settings)
    for email in ("olga@example.org", "otto@example.org"):
        enrolled(database, settings, operator(database, email=email))
    lost = operator(database, email="orla@example.org")
    enrolled(database, signing(settings, OTHER), lost)
    with database.transaction() as session:
        assert rotation.state(session, rotated).apps == {1: 2}
        assert rotation.reseal(session, rotated) == rotation.Resealed(hash_key=True, apps=2, unopened=1)
    with database.transaction() as session:
        assert rotation.reseal(session, rotated) == rotation.Resealed(hash_key=False, apps=0, unopened=1)
        found = rotation.state(session, dropped)
    assert (found.hash_key, found.apps, found.unopened) == (0, {0: 2}, 1)


# ---- who must not be mailed ------------------------------------------------------------------------------------------


def barred(database: Database, used: Settings, email: str) -> bool:
    with open_ready(used), database.transaction() as session:
        return suppression.contains(session, addresses.hashed(used, addresses.parse(email).key))


def test_a_suppression_outlives_rotations_and_the_secrets_of_before(
    database: Database, settings: Settings, rotated: Settings
) -> None:
    reader = factories.reader(database, settings, "ada@example.org", queries=["robots"])
    with open_ready(settings), database.transaction() as session:
        returned.suppress(session, settings, "ada@example.org", "asked")
        erasure.erase(session, settings, reader, Visit("test"))
    assert barred(database, rotated, "ada@example.org")
    with database.transaction() as session:
        rotation.reseal(session, rotated)
    assert barred(database, signing(settings, NEW), "ada@example.org")
    with database.transaction() as session:
        rotation.reseal(session, signing(settings, OTHER, NEW))
    last = signing(settings, OTHER)
    assert barred(database, last, "Ada@Example.org")
    assert not barred(database, last, "eve@example.org")
    handed = pickle.loads(pickle.dumps(last))  # noqa: S301 (our own)
    assert handed.address_hash_key == last.address_hash_key, "processes of a crew know it"


@pytest.mark.usefixtures("database")
def test_a_secret_that_is_not_the_databases_is_refused(
    settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    open_ready(settings).close()
    with pytest.raises(SettingsError, match=r"is not this database's.*PAPERROUND_OLD_SECRETS") as caught:
        open_ready(dropped)
    assert "\n" not in str(caught.value)
    assert NEW not in str(caught.value)
    open_ready(rotated).close()


def test_hashes_from_before_the_key_was_kept_stay_comparable(
    database: Database, settings: Settings, dropped: Settings
) -> None:
    factories.reader(database, settings, "ada@example.org", queries=["robots"])
    with database.transaction() as session:
        returned.suppress(session, settings, "ada@example.org", "asked")
        session.execute(text("DELETE FROM hash_key"))
    with pytest.raises(SettingsError, match="is not this database's"):
        open_ready(dropped)
    assert barred(database, signing(settings, NEW, OTHER, settings.signing_key), "ada@example.org")


def test_with_the_secret_lost_readers_who_are_suppressed_stay_so(
    database: Database, settings: Settings, dropped: Settings
) -> None:
    open_ready(settings).close()
    for email in ("ada@example.org", "bob@example.org", "gone@example.org"):
        reader = factories.reader(database, settings, email, queries=["robots"])
        if email != "bob@example.org":
            with database.transaction() as session:
                returned.suppress(session, settings, email, "asked")
    with database.transaction() as session:
        erasure.erase(session, settings, reader, Visit("test"))
        assert hash_key.give_up(session, dropped) == (2, 1)
    found = [barred(database, dropped, f"{name}@example.org") for name in ("ada", "bob", "gone")]
    assert found == [True, False, False]


# ---- backups ---------------------------------------------------------------------------------------------------------


def test_a_backup_of_before_a_rotation_comes_back(
    database: Database, settings: Settings, rotated: Settings, dropped: Settings, tmp_path: Path
) -> None:
    hash_key.bind(database, settings)
    with database.transaction() as session:
        returned.suppress(session, settings, "ada@example.org", "asked")
    backup.backup(database, settings, tmp_path / "house.backup")
    with database.transaction() as session:
        rotation.reseal(session, rotated)

    with pytest.raises(BackupError, match="PAPERROUND_OLD_SECRETS"):
        backup.restore(database, dropped, tmp_path / "house.backup", replace=False)
    backup.restore(database, rotated, tmp_path / "house.backup", replace=True)

    with pytest.raises(SettingsError, match="is not this database's"):
        open_ready(dropped)
    assert barred(database, rotated, "ada@example.org")


def test_taking_a_backup_back_forgets_no_secret_and_undoes_no_rotation(tmp_path: Path) -> None:
    home = tmp_path / "home"
    first = secret_files.current(home)
    secret_files.rotate(home)
    second = secret_files.current(home)
    secret_files.take_back(home, first, [])
    assert (secret_files.older(home), secret_files.current(home)) == ([first], second)
    secret_files.take_back(home, OTHER, [NEW])
    assert secret_files.current(home) == OTHER, "of another machine: its links are in inboxes"
    assert set(secret_files.older(home)) == {NEW, first, second}
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    secret_files.take_back(fresh, second, [first])
    assert (secret_files.older(fresh), secret_files.current(fresh)) == ([first], second)


# ---- the data folder -------------------------------------------------------------------------------------------------


def test_a_rotation_in_the_data_folder_keeps_the_old_secrets(tmp_path: Path) -> None:
    first = Settings(home=tmp_path).signing_key
    secret_files.rotate(tmp_path)
    second = Settings(home=tmp_path).signing_key
    secret_files.rotate(tmp_path)
    third = Settings(home=tmp_path)
    assert third.verifying_keys == (first, second, third.signing_key)
    assert len(set(third.verifying_keys)) == 3
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "secret": 0o600,
        "old-secrets": 0o600,
    }
    secret_files.forget(tmp_path)
    assert Settings(home=tmp_path).verifying_keys == (third.signing_key,)


class Killed(BaseException):
    """The process is gone."""


def test_a_rotation_that_breaks_off_anywhere_leaves_the_old_state_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaking(at: int) -> Callable[[Path, Path], Path]:
        steps = iter(range(100))

        def replace(draft: Path, target: Path) -> Path:
            if next(steps) == at:
                raise Killed
            return draft.rename(target)

        return replace

    first = secret_files.current(tmp_path)
    for step in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", breaking(step))
            with pytest.raises(Killed):
                secret_files.rotate(tmp_path)
        assert Settings(home=tmp_path).verifying_keys == (first,), step
    secret_files.rotate(tmp_path)
    after = Settings(home=tmp_path)
    assert after.verifying_keys == (first, after.signing_key)
    assert after.signing_key != first


# ---- settings, doctor ------------------------------------------------------------------------------------------------


def test_a_short_old_secret_is_refused_and_none_is_ever_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_OLD_SECRETS", f"{OTHER} hunter2")
    with pytest.raises(
        SettingsError, match="PAPERROUND_OLD_SECRETS is not usable: each must have at least 32"
    ) as caught:
        load()
    assert "hunter2" not in str(caught.value)
    monkeypatch.setenv("PAPERROUND_OLD_SECRETS", f" {OTHER}\n{NEW} ")
    monkeypatch.setenv("PAPERROUND_SECRET", NEW)
    found = load()
    assert found.verifying_keys == (OTHER, NEW), "the signing one counts once"
    assert OTHER not in repr(found) + str(found.model_dump())


def test_the_doctor_tells_what_still_needs_which_secret(
    database: Database, settings: Settings, rotated: Settings, dropped: Settings
) -> None:
    hash_key.bind(database, settings)
    enrolled(database, settings, operator(database))

    def found(used: Settings) -> list[tuple[str, Verdict, str]]:
        return [(each.check, each.verdict, each.detail) for each in doctor.secrets(database, used)]

    ((check, verdict, detail),) = found(rotated)
    assert (check, verdict) == ("old secret 1 of 1", Verdict.WARNING)
    assert "the key of suppressions and 1 operators' apps: `paperround secret reseal`" in detail
    with database.transaction() as session:
        rotation.reseal(session, rotated)
    ((_, verdict, detail),) = found(rotated)
    assert verdict is Verdict.OK
    assert f"the others by {datetime.now(UTC) + timedelta(days=60):%Y-%m-%d}" in detail
    with database.transaction() as session:
        session.execute(text("UPDATE hash_key SET sealed_at = now() - interval '61 days'"))
    ((_, _, detail),) = found(rotated)
    assert "links to unsubscribe in mails of before" in detail
    ((check, verdict, _),) = found(dropped)
    assert (check, verdict) == ("secrets", Verdict.OK)
    with pytest.raises(SettingsError):
        found(signing(settings, OTHER))
    with database.transaction() as session:
        assert session.scalar(select(func.count()).select_from(HashKey)) == 1
        assert session.scalar(select(func.count()).select_from(Suppression)) == 0
