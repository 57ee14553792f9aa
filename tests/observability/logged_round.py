"""A round in which much goes wrong, logged in full: `python -m tests.observability.logged_round`, for test_logs.

Its database, and where mail goes, are told by the environment like any process's.
"""

from __future__ import annotations

from service import logs, rounds
from service.database import Database
from service.database.tables import ReturnKind
from service.returns import take
from service.settings import load
from service.subscribers import returned
from service.subscribers.returned import Return
from tests import factories
from tests.delivery.servers import sink, whenever


def main() -> None:
    settings = load()
    logs.configure(settings)
    with Database.open(settings, own=False) as database:
        readers = [
            factories.reader(database, settings, f"{name}.secret@example.org", queries=["robots"])
            for name in ("refused", "deferred", "taken", "bounced")
        ]
        factories.edition(database, factories.record("Walking Robots"))
        with sink(
            RCPT=whenever("refused", "550 5.1.1 <refused.secret@example.org> is nobody here"),
            body=whenever("deferred", "451 4.3.0 deferred.secret@example.org is over quota"),
        ) as server:
            used = settings.model_copy(update={"smtp_url": f"smtp://127.0.0.1:{server.port}"})
            rounds.run(database, used, everyone=True)
        with database.transaction() as session:
            for number, kind in enumerate((ReturnKind.SOFT_BOUNCE, ReturnKind.REFUSAL, ReturnKind.COMPLAINT)):
                words = "bounced.secret@example.org says no"
                event = Return(kind, "inbound", str(number), reader_id=readers[3], diagnostic=words)
                returned.take(session, used, event)
        strange = (
            b"From: bounced.secret@example.org\r\nTo: unsubscribe@papers.example\r\nSubject: Stop\r\n\r\nPlease.\r\n"
        )
        take.take_mail(database, used, strange, source="inbound", recipients=["bounced.secret@example.org"])
        # A relay that is away is told of, too.
        factories.edition(database, factories.record("Talking Robots"))
        rounds.run(database, used, everyone=True)


if __name__ == "__main__":
    main()
