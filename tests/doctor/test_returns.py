"""What the doctor makes of what came back in a day."""

from __future__ import annotations

import pytest

from service import doctor
from service.database import Database
from service.database.tables import ReturnKind
from service.doctor import Finding, Verdict
from service.settings import Settings
from service.subscribers import returned
from service.subscribers.returned import Return
from tests import factories


def finding(settings: Settings) -> Finding:
    return next(each for each in doctor.examine(settings) if each.check == "returns")


@pytest.mark.parametrize(
    ("kind", "number", "verdict"),
    [
        (ReturnKind.REFUSAL, 2, Verdict.OK),
        (ReturnKind.REFUSAL, 3, Verdict.WARNING),
        (ReturnKind.COMPLAINT, 3, Verdict.WARNING),
        (ReturnKind.SOFT_BOUNCE, 9, Verdict.OK),
    ],
)
def test_refusals_and_complaints_of_many_are_told(
    database: Database, settings: Settings, kind: ReturnKind, number: int, verdict: Verdict
) -> None:
    reader = factories.reader(database, settings, queries=["robots"])
    with database.transaction() as session:
        for key in range(number):
            returned.take(session, settings, Return(kind, "inbound", str(key), reader_id=reader))
    found = finding(settings)
    assert found.verdict is verdict
    assert f"{number} {kind.value}" in found.detail
