"""Composing and signing: milliseconds a digest of ten papers, for readers of different topics.

    python -m benchmarks.compose --json

``ours`` is what the sender's composer makes of what it read from the database, then signed (RSA-2048); ``unsigned`` the
same without the signature, ``with_database`` composing with its queries in batches of 500, unsigned. The peer renders
the same templates by Jinja for each message, builds it by the standard library's EmailMessage, and signs by dkimpy with
the same key and the same canonicalization. One thread each, in turns; medians of the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

import dkim as dkimpy

from benchmarks.round import Invented, enrol
from benchmarks.telling import options, scratch, tell
from service.database import Database
from service.delivery import dkim
from service.digests import plan
from service.mails import cards
from service.mails.compose import Composed, Composer
from service.mails.letterhead import SITE_NAME
from service.mails.material import Draft
from service.mails.templates import templates
from service.outbox import rows
from service.outbox.claims import Claim
from service.papers import editions, ingest
from service.readiness import open_ready
from service.settings import Settings
from service.subscribers.tokens import Links

READERS = 1_000
BATCH = 500
PEER_DIGESTS = 25
PAPERS = 10


class Stock:
    """Everything that the digests of some readers are made from, read once."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.claims = list(
            rows.claim(database, owner="benchmark", limit=READERS, lease=timedelta(hours=1), now=datetime.now(UTC))
        )
        self.composer = Composer(settings)
        with database.transaction() as session:
            self.material = self.composer.material(session, self.claims)
        self.claims = [each for each in self.claims if len(self.draft(each).paper_ids) == PAPERS]
        self.now = datetime.now(UTC)

    def draft(self, claim: Claim) -> Draft:
        assert claim.digest_id is not None
        return self.material.drafts[claim.digest_id]

    def composed(self, claim: Claim) -> Composed:
        reader = self.material.readers[claim.reader_id]
        return self.composer.digest(claim, reader, self.draft(claim), self.material, self.now)


class Peer:
    """The same mail as most programs make it."""

    def __init__(self, stock: Stock, settings: Settings, key: bytes) -> None:
        self._stock, self._settings, self._key = stock, settings, key
        self._links = Links(settings)

    @cached_property
    def _templates(self) -> Any:
        return templates()

    def composed(self, claim: Claim) -> bytes:
        draft, reader = self._stock.draft(claim), self._stock.material.readers[claim.reader_id]
        words = [
            {
                **{
                    name: getattr(text, name)
                    for text in [cards.card_text(self._stock.material.papers[paper], self._settings.origin, 480)]
                    for name in cards.CardText.__slots__
                },
                "reason": "Because you follow " + self._stock.material.labels.get((reader.id, query), ""),
            }
            for paper, query in zip(draft.paper_ids, draft.reason_queries, strict=False)
        ]
        values = {
            "site_name": SITE_NAME, "origin": self._settings.origin, "lang": "en", "dir": "ltr",
            "postal_address": self._settings.postal_address, "title": "New papers", "headline": "New papers for you",
            "summary": f"{draft.slot:%A, %d %B %Y}", "preheader": str(words[0]["title"]), "more": "", "note": "",
            "preferences_url": self._links.preferences(reader.id),
            "unsubscribe_url": self._links.unsubscribe(reader.id), "cards": words,
        }  # fmt: skip
        message = EmailMessage(policy=SMTP)
        message["From"], message["To"] = self._settings.sender, reader.email
        message["Subject"] = str(words[0]["title"])
        message["Date"] = format_datetime(self._stock.now)
        message["Message-ID"] = f"<{claim.message_id}>"
        message["List-Unsubscribe"] = f"<{self._links.unsubscribe(reader.id)}>"
        message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        message.set_content(self._templates.text("digest", values), cte="quoted-printable")
        message.add_alternative(self._templates.html("digest", values), subtype="html", cte="quoted-printable")
        return message.as_bytes()

    def signed(self, content: bytes) -> bytes:
        domain = self._settings.mail_domain.encode()
        return bytes(
            dkimpy.sign(content, b"paperround", domain, self._key, canonicalize=(b"relaxed", b"simple")) + content
        )


def milliseconds(work: Callable[[Any], Any], items: Sequence[Any]) -> float:
    started = time.perf_counter()
    for item in items:
        work(item)
    return (time.perf_counter() - started) / len(items) * 1_000


def measured(folder: Path, rounds: int) -> dict[str, Any]:
    key = folder / "dkim.pem"
    dkim.make_key(key)
    settings = Settings(
        home=folder / "home",
        sender="Paperround <digest@papers.example>",
        postal_address="1 Example Street",
        dkim_key_file=key,
    )
    signer = dkim.configured(settings)
    assert signer is not None
    figures: dict[str, list[float]] = {}
    with open_ready(settings) as database:
        ingest.ingest(database, Invented(), datetime.now(UTC).date())
        editions.cut(database)
        enrol(database, READERS)
        plan.plan_due(database, settings)
        stock = Stock(database, settings)
        peer = Peer(stock, settings, key.read_bytes())
        claims = stock.claims
        assert len(claims) > READERS // 2
        sizes = [len(stock.composed(claim).content) for claim in claims]
        unsigned = [stock.composed(claim).content for claim in claims[:BATCH]]
        peers = [peer.composed(claim) for claim in claims[:PEER_DIGESTS]]
        for _ in range(rounds):
            for name, work, items in (
                ("unsigned", stock.composed, claims),
                ("ours", lambda claim: signer.signed(stock.composed(claim).content), claims),
                ("peer_unsigned", peer.composed, claims[:PEER_DIGESTS]),
                ("peer", lambda claim: peer.signed(peer.composed(claim)), claims[:PEER_DIGESTS]),
            ):
                figures.setdefault(name, []).append(milliseconds(work, items))
            started = time.perf_counter()
            with database.transaction() as session:
                made = stock.composer.compose(session, claims[:BATCH])
            assert all(isinstance(each, Composed) for each in made)
            figures.setdefault("with_database", []).append((time.perf_counter() - started) / len(made) * 1_000)
    record = {f"{each.name}.".encode(): each.value.encode() for each in signer.records}
    for content in (signer.signed(unsigned[0]), peer.signed(peers[0])):
        assert dkimpy.verify(content, dnsfunc=lambda name, timeout=5: record.get(name))  # noqa: ARG005
    return {
        **{name: round(median(values), 3) for name, values in figures.items()},
        "mean_bytes": sum(sizes) // len(sizes),
        "largest_bytes": max(sizes),
        "peer_bytes": sum(map(len, peers)) // len(peers),
    }


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    wanted = parser.parse_args()
    with scratch() as folder:
        figures = measured(folder, wanted.rounds)
    row = {
        "bench": "compose",
        "unit": "ms/digest",
        "ours": figures.pop("ours"),
        "peer": figures.pop("peer"),
    }
    row["ratio"] = round(row["peer"] / row["ours"], 1)
    row |= figures
    tell(row, only_json=wanted.json)


if __name__ == "__main__":
    main()
