"""Real digests through a real Postfix: planned, composed, signed, sent, relayed into a mailbox, and looked at there."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from email import message_from_bytes, policy
from pathlib import Path

from sqlalchemy import text

from service.database import Database
from service.delivery import dkim
from service.delivery.sender import SendReport, send_due
from service.digests import plan
from service.papers import editions, ingest
from service.papers.samples import SampleSource
from service.settings import Settings
from service.subscribers.topics import catalogue
from tests.delivery import opendkim, postfix

DIGESTS = int(os.environ.get("PAPERROUND_TEST_DIGESTS", "1000"))


def test_postfix_takes_every_digest_without_a_warning(database: Database, settings: Settings, tmp_path: Path) -> None:
    catalogue.sync(database)
    ingest.ingest(database, SampleSource(), datetime.now(UTC).date())
    editions.cut(database)
    with database.transaction() as session:
        values = {"readers": DIGESTS}
        session.execute(
            text("""
                INSERT INTO reader (email, address_key, state, paper_limit, next_digest_at)
                SELECT 'r' || n || '@example.org', 'r' || n || '@example.org', 'active', 10, now() - interval '1 minute'
                FROM generate_series(1, :readers) AS n
            """),
            values,
        )
        session.execute(
            text("""
                INSERT INTO interest (reader_id, query_id, topic_slug, label)
                SELECT reader.id, topic.query_id, topic.slug, topic.name FROM reader
                CROSS JOIN LATERAL (SELECT * FROM topic ORDER BY position LIMIT 8) AS topic
            """)
        )
    dkim.make_key(tmp_path / "dkim.pem")
    with postfix.running() as server:
        signing = settings.model_copy(
            update={"smtp_url": f"smtp://127.0.0.1:{server.port}", "dkim_key_file": tmp_path / "dkim.pem"}
        )
        planned = plan.plan_due(database, signing)
        assert planned.digests == DIGESTS
        assert send_due(database, signing) == SendReport(sent=DIGESTS)
        mails = server.delivered(DIGESTS, 90)
        troubles = [line for line in server.log if re.search(r"warning|error|fatal|panic|reject", line)]
        relayed = sum("status=sent" in line for line in server.log)
    assert troubles == []
    assert relayed == len(mails) == DIGESTS
    recipients = {message_from_bytes(mail, policy=policy.default)["To"] for mail in mails}
    assert recipients == {f"r{number}@example.org" for number in range(1, DIGESTS + 1)}

    signer = dkim.configured(signing)
    assert signer is not None
    arrived = re.sub(rb"\r?\n", b"\r\n", mails[0])
    # The mailbox's own two fields stand before the signature, and none of ours has changed.
    assert opendkim.complaint(arrived, signer.records, tmp_path) is None
    assert opendkim.complaint(arrived.replace(b"_part--", b"_park--"), signer.records, tmp_path) is not None
