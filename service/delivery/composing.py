"""Composing what was claimed, so that a message that cannot be made costs nobody but its own reader."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.orm import Session

from service.database import Database
from service.database.tables import DeliveryState
from service.delivery.dkim import Signer
from service.mails.compose import Composed, Withheld
from service.outbox.claims import Claim, Outcome

log = structlog.get_logger(__name__)


class Composes(Protocol):
    """``mails.compose.Composer``, or what stands in for it."""

    def compose(self, session: Session, claims: Sequence[Claim]) -> list[Composed | Withheld]: ...


def compose(
    database: Database, composer: Composes, claims: Sequence[Claim], signer: Signer | None = None
) -> tuple[list[Composed], list[Outcome]]:
    """The messages that may go, in the order of ``claims``, signed where there is a signer, and the rest's outcomes.

    Withheld ones are cancelled. When composing them together raises, each is composed by itself, and those that raise
    again fail alone. A database that does not answer is nobody's fault and is raised.
    """
    try:
        made = _together(database, composer, claims)
        failed: list[Outcome] = []
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 (whatever one row's content provokes)
        log.warning("compose.one_by_one", error=type(error).__name__)
        made, failed = _one_by_one(database, composer, claims)
    composed = [item for item in made if isinstance(item, Composed)]
    if signer is not None:
        # After the transaction: signing takes longer than composing, and needs no database.
        composed = [replace(item, content=signer.signed(item.content)) for item in composed]
    withheld = [
        Outcome(item.delivery_id, DeliveryState.CANCELLED, item.reason) for item in made if isinstance(item, Withheld)
    ]
    return composed, withheld + failed


def _together(database: Database, composer: Composes, claims: Sequence[Claim]) -> list[Composed | Withheld]:
    with database.transaction() as session:
        made = composer.compose(session, claims)
    if {item.delivery_id for item in made} != {claim.delivery_id for claim in claims}:
        raise LookupError("the composer left a claim out")
    return made


def _one_by_one(
    database: Database, composer: Composes, claims: Sequence[Claim]
) -> tuple[list[Composed | Withheld], list[Outcome]]:
    made: list[Composed | Withheld] = []
    failed: list[Outcome] = []
    for claim in claims:
        try:
            made += _together(database, composer, [claim])
        except (OperationalError, InterfaceError):
            raise
        except Exception as error:
            log.exception("compose.failed", delivery=claim.delivery_id)
            reply = f"cannot be composed ({type(error).__name__}): the log tells more"
            failed.append(Outcome(claim.delivery_id, DeliveryState.FAILED, reply))
    return made, failed
