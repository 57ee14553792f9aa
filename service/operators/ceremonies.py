"""The ceremonies of passkeys (WebAuthn Level 3): one is enrolled, serves in place of a code, or opens the door alone.

What authenticators sign is read and verified by py_webauthn. Here stands what is ours to decide: whose a passkey is,
which challenge counts, when a passkey opens the door without the mailed link, and what the audit log says of it.

A ceremony has two steps: a question (the options for the browser, and a cookie that binds their challenge to it), and
the answer. An answer that is not taken is no exception: its refusal is recorded, and the challenge spent, in the
transaction that the caller commits.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

import orjson
import structlog
import webauthn
from cryptography.exceptions import UnsupportedAlgorithm
from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from webauthn.authentication.verify_authentication_response import VerifiedAuthentication
from webauthn.helpers import parse_authentication_credential_json, parse_registration_credential_json
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticationCredential,
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    RegistrationCredential,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)
from webauthn.registration.verify_registration_response import VerifiedRegistration

from service.database.tables import Operator, Passkey
from service.operators import audit, challenges, passkeys, sessions
from service.operators.accounts import OperatorError
from service.operators.audit import Act
from service.operators.challenges import Ceremony
from service.operators.sessions import Seat
from service.settings import Settings

log = structlog.get_logger(__name__)

_LONGEST_ID: Final = 1023
"""Bytes of a credential's id (WebAuthn 4)."""
_HANDLE_BYTES: Final = 64
"""As WebAuthn 14.6.1 recommends."""
_TIMEOUT: Final = int(challenges.LIFETIME.total_seconds() * 1000)
_SITE: Final = "Paperround"
_MALFORMED: Final = (
    WebAuthnException, UnsupportedAlgorithm, ArithmeticError, AttributeError, LookupError, TypeError, ValueError,
)  # fmt: skip
"""What py_webauthn and what it stands on raise about bytes that are no credential."""


class Refusal(StrEnum):
    """Why a passkey was not taken, as the log says it."""

    STALE = "its challenge had run out, was answered before, or was not this browser’s"
    UNKNOWN = "it is not enrolled here"
    OTHERS = "it is another operator’s"
    INVALID = "what it signed is not valid"
    COUNTER = "its counter went back: it may have been copied"
    TWICE = "it is enrolled already"
    NOT_ALONE = "it was enrolled without its PIN or finger"
    NOT_NOW = "the second factor was not given just before"
    TOO_MANY = "there are too many"


REMEDY: Final = {
    Refusal.STALE: "Try again.",
    Refusal.UNKNOWN: "Sign in by a mailed link; then you can enrol it.",
    Refusal.OTHERS: "Sign in as the one whose it is, or choose another.",
    Refusal.INVALID: "Try again, or choose another way to sign in.",
    Refusal.COUNTER: "Sign in another way, remove it, and enrol it anew.",
    Refusal.TWICE: "Nothing is left to do.",
    Refusal.NOT_ALONE: "Set a PIN on it and use it once after a mailed link; from then on it opens the door alone.",
    Refusal.NOT_NOW: "Give your second factor once more, then try again.",
    Refusal.TOO_MANY: "Remove one first.",
}


@dataclass(frozen=True, slots=True)
class Question:
    """What the browser is asked."""

    options: str
    """JSON for ``navigator.credentials``."""
    cookie: str
    """Brings the challenge back."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an answer."""

    refusal: Refusal | None = None
    token: str = ""
    """The session's new token, where the answer opened one."""


# ---- enrolling -------------------------------------------------------------------------------------------------------


def ask_to_enrol(session: Session, settings: Settings, seat: Seat, *, now: datetime | None = None) -> Question:
    """The first step. Raises OperatorError where the site cannot have passkeys, or this one may not enrol now."""
    party = _party(settings)
    operator = passkeys.held(session, seat.operator_id)
    refusal = _may_enrol(session, operator, seat)
    if refusal is not None:
        raise OperatorError(f"no passkey can be enrolled now: {refusal}")
    if operator.passkey_handle is None:
        operator.passkey_handle = secrets.token_bytes(_HANDLE_BYTES)
        session.flush()
    challenge, cookie = challenges.issue(settings, Ceremony.ENROL, seat.csrf, now=now or datetime.now(UTC))
    # Preferred, not required: a key without a PIN is a good second factor after the mailed link.
    wanted = AuthenticatorSelectionCriteria(
        resident_key=ResidentKeyRequirement.PREFERRED, user_verification=UserVerificationRequirement.PREFERRED
    )
    options = webauthn.generate_registration_options(
        rp_id=party.id,
        rp_name=_SITE,
        user_id=operator.passkey_handle,
        user_name=seat.email,
        challenge=challenge,
        timeout=_TIMEOUT,
        authenticator_selection=wanted,
        exclude_credentials=_descriptors(session, seat.operator_id),
    )
    return Question(webauthn.options_to_json(options), cookie)


def enrol(
    session: Session, settings: Settings, seat: Seat, cookie: str, written: str, name: str,
    *, now: datetime | None = None,
) -> Answer:  # fmt: skip
    """The second step; ``written`` is the browser's credential as JSON. At the door it opens the session, too."""
    moment = now or datetime.now(UTC)
    party = _party(settings)
    operator = passkeys.held(session, seat.operator_id)
    challenge = challenges.spend(session, settings, Ceremony.ENROL, seat.forms, cookie, now=moment)
    refusal = _may_enrol(session, operator, seat) or (Refusal.STALE if challenge is None else None)
    if refusal is not None or challenge is None:
        return _refused(session, operator.id, refusal or Refusal.STALE)
    try:
        credential = parse_registration_credential_json(orjson.loads(written))
        verified = webauthn.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
        )
    except _MALFORMED as error:
        log.info("passkeys.not_valid", operator_id=operator.id, error=type(error).__name__)
        return _refused(session, operator.id, Refusal.INVALID)
    return _enrolled(session, operator, seat, credential, verified, name, moment)


def _enrolled(
    session: Session, operator: Operator, seat: Seat, credential: RegistrationCredential,
    verified: VerifiedRegistration, name: str, now: datetime,
) -> Answer:  # fmt: skip
    # The authenticator tells the id; what the browser writes beside it is not believed.
    if verified.credential_id != credential.raw_id or len(verified.credential_id) > _LONGEST_ID:
        return _refused(session, operator.id, Refusal.INVALID)
    made: int | None = session.scalar(
        insert(Passkey)
        .values(
            operator_id=operator.id,
            credential_id=verified.credential_id,
            public_key=verified.credential_public_key,
            sign_count=verified.sign_count,
            user_verified=verified.user_verified,
            transports=[each.value for each in credential.response.transports or ()],
            name=passkeys.named(name) or f"Passkey of {now:%Y-%m-%d}",
            created_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Passkey.id)
    )
    if made is None:
        return _refused(session, operator.id, Refusal.TWICE)
    audit.record(session, operator.id, Act.PASSKEY_ENROLLED, f"passkey {made}", passkeys.named(name))
    if seat.verified:
        return Answer()
    return Answer(token=sessions.admit(session, operator.id, seat.session_id, again=False, now=now))


def _may_enrol(session: Session, operator: Operator, seat: Seat) -> Refusal | None:
    """By the mailed link alone only where there is no second factor yet; else with one that was just given."""
    has = operator.totp_since is not None or sessions.has_passkeys(session, operator.id)
    if has and not seat.fresh:
        return Refusal.NOT_NOW
    number = session.scalar(select(func.count()).where(Passkey.operator_id == operator.id)) or 0
    return Refusal.TOO_MANY if number >= passkeys.MOST else None


# ---- signing in ------------------------------------------------------------------------------------------------------


def ask_to_verify(session: Session, settings: Settings, seat: Seat, *, now: datetime | None = None) -> Question:
    """For the second factor: one of the operator's passkeys. Raises OperatorError where the site cannot have any."""
    challenge, cookie = challenges.issue(settings, Ceremony.VERIFY, seat.csrf, now=now or datetime.now(UTC))
    options = webauthn.generate_authentication_options(
        rp_id=_party(settings).id,
        challenge=challenge,
        timeout=_TIMEOUT,
        allow_credentials=_descriptors(session, seat.operator_id),
        user_verification=UserVerificationRequirement.PREFERRED,
    )
    return Question(webauthn.options_to_json(options), cookie)


def verify(
    session: Session, settings: Settings, seat: Seat, cookie: str, written: str, *, now: datetime | None = None
) -> Answer:
    """The second factor by a passkey: the session's new token. Wrong codes lock codes alone: nobody guesses a key."""
    moment = now or datetime.now(UTC)
    operator = passkeys.held(session, seat.operator_id)
    challenge = challenges.spend(session, settings, Ceremony.VERIFY, seat.forms, cookie, now=moment)
    credential = _assertion(written)
    if challenge is None or credential is None:
        return _refused(session, operator.id, Refusal.STALE if challenge is None else Refusal.INVALID)
    passkey = _found(session, credential)
    if passkey is None or passkey.operator_id != operator.id:
        return _refused(session, operator.id, Refusal.UNKNOWN if passkey is None else Refusal.OTHERS)
    refusal = _judged(session, settings, operator, passkey, credential, challenge, alone=False, now=moment)
    if refusal is not None:
        return _refused(session, operator.id, refusal, passkey.id)
    return Answer(token=sessions.admit(session, operator.id, seat.session_id, again=seat.verified, now=moment))


def ask_at_the_door(settings: Settings, *, now: datetime | None = None) -> Question:
    """For both factors at once: any passkey of this site whose authenticator asks for a PIN or finger.

    Raises OperatorError where the site cannot have passkeys.
    """
    challenge, cookie = challenges.issue(settings, Ceremony.SIGN_IN, "", now=now or datetime.now(UTC))
    options = webauthn.generate_authentication_options(
        rp_id=_party(settings).id,
        challenge=challenge,
        timeout=_TIMEOUT,
        user_verification=UserVerificationRequirement.REQUIRED,
    )
    return Question(webauthn.options_to_json(options), cookie)


def sign_in(
    session: Session, settings: Settings, cookie: str, written: str, user_agent: str, *, now: datetime | None = None
) -> Answer:
    """Sign in without the mail: the token of a new session.

    The authenticator is what the operator has, its PIN or finger what they know or are; so one that was not verified,
    now or when it was enrolled, is not enough. Of a passkey that nobody enrolled no line goes into the audit log.
    """
    moment = now or datetime.now(UTC)
    credential = _assertion(written)
    challenge = challenges.spend(session, settings, Ceremony.SIGN_IN, [""], cookie, now=moment)
    if credential is None:
        return Answer(Refusal.INVALID)
    owner = session.scalar(select(Passkey.operator_id).where(Passkey.credential_id == credential.raw_id))
    if owner is None:
        return Answer(Refusal.UNKNOWN)
    operator = passkeys.held(session, owner)
    passkey = _found(session, credential)
    if passkey is None:  # removed while we waited
        return _refused(session, operator.id, Refusal.UNKNOWN)
    if challenge is None:
        return _refused(session, operator.id, Refusal.STALE, passkey.id)
    refused = _judged(session, settings, operator, passkey, credential, challenge, alone=True, now=moment)
    if refused is not None:
        return _refused(session, operator.id, refused, passkey.id)
    return Answer(token=sessions.begin_verified(session, settings, operator.id, user_agent, now=moment))


def _judged(
    session: Session, settings: Settings, operator: Operator, passkey: Passkey, credential: AuthenticationCredential,
    challenge: bytes, *, alone: bool, now: datetime,
) -> Refusal | None:  # fmt: skip
    """Look at an assertion of a passkey; what it says of the passkey is noted where it is taken."""
    handle = credential.response.user_handle
    if handle != operator.passkey_handle and (alone or handle):
        return Refusal.OTHERS
    if alone and not passkey.user_verified:
        return Refusal.NOT_ALONE
    party = _party(settings)
    try:
        verified: VerifiedAuthentication = webauthn.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=party.id,
            expected_origin=party.origin,
            credential_public_key=passkey.public_key,
            # Below: only a counter that was truly signed tells of a copy.
            credential_current_sign_count=0,
            require_user_verification=alone,
        )
    except _MALFORMED as error:
        log.info("passkeys.not_valid", operator_id=operator.id, passkey_id=passkey.id, error=type(error).__name__)
        return Refusal.INVALID
    if (verified.new_sign_count or passkey.sign_count) and verified.new_sign_count <= passkey.sign_count:
        return Refusal.COUNTER
    passkey.sign_count, passkey.used_at = verified.new_sign_count, now
    # After a mailed link a PIN may be new on the key: two factors vouch for it (WebAuthn 7.2, uvInitialized).
    passkey.user_verified = passkey.user_verified or verified.user_verified
    session.flush()
    audit.record(session, operator.id, Act.PASSKEY_USED, f"passkey {passkey.id}", "alone" if alone else "")
    return None


# ---- parts -----------------------------------------------------------------------------------------------------------


def _party(settings: Settings) -> passkeys.RelyingParty:
    party = passkeys.relying_party(settings)
    if party is None:
        raise OperatorError("passkeys need https:// and a name: set PAPERROUND_SITE_URL, or use codes of an app")
    return party


def _found(session: Session, credential: AuthenticationCredential) -> Passkey | None:
    wanted = Passkey.credential_id == credential.raw_id
    return session.scalars(select(Passkey).where(wanted).with_for_update()).one_or_none()


def _assertion(written: str) -> AuthenticationCredential | None:
    try:
        return parse_authentication_credential_json(orjson.loads(written))
    except _MALFORMED:
        return None


def _descriptors(session: Session, operator_id: int) -> list[PublicKeyCredentialDescriptor]:
    found = session.scalars(select(Passkey).where(Passkey.operator_id == operator_id).order_by(Passkey.id))
    return [
        PublicKeyCredentialDescriptor(
            id=each.credential_id, transports=[AuthenticatorTransport(name) for name in each.transports] or None
        )
        for each in found
    ]


def _refused(session: Session, operator_id: int, refusal: Refusal, passkey_id: int | None = None) -> Answer:
    subject = f"operator {operator_id}" if passkey_id is None else f"passkey {passkey_id}"
    audit.record(session, operator_id, Act.PASSKEY_REFUSED, subject, refusal)
    return Answer(refusal)
