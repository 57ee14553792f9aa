"""Readers to a file: as CSV that an import understands, or as JSON Lines."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import IO, Final

from service.database import Database
from service.database.engine import raw


class Form(StrEnum):
    """What an export is written as."""

    CSV = "csv"
    JSONL = "jsonl"


# One pass over readers and one over interests; the server writes the lines.
_ROWS: Final = """
    SELECT reader.email, reader.state, reader.digest_hour AS hour, reader.timezone,
        array_to_string(ARRAY(
            SELECT (ARRAY['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'])[day + 1]
            FROM generate_series(0, 6) AS day WHERE reader.weekdays >> day & 1 = 1
        ), ',') AS weekdays,
        reader.paper_limit AS "limit", reader.cadence, reader.abstracts, reader.plain_text, reader.trending,
        reader.language, followed.topics, followed.queries, followed.muted_topics, followed.muted_queries,
        followed.more_topics, followed.more_queries, followed.less_topics, followed.less_queries,
        followed.instant_topics, followed.instant_queries, reader.confirmed_at AS evidence
    FROM reader
    LEFT JOIN (
        SELECT reader_id,
            string_agg(topic_slug, ' ' ORDER BY interest.id) FILTER (WHERE NOT muted) AS topics,
            string_agg(canonical, E'\\n' ORDER BY interest.id) FILTER (WHERE NOT muted AND topic_slug IS NULL)
                AS queries,
            string_agg(topic_slug, ' ' ORDER BY interest.id) FILTER (WHERE muted) AS muted_topics,
            string_agg(canonical, E'\\n' ORDER BY interest.id) FILTER (WHERE muted AND topic_slug IS NULL)
                AS muted_queries,
            string_agg(topic_slug, ' ' ORDER BY interest.id) FILTER (WHERE weight > 0 AND NOT muted) AS more_topics,
            string_agg(canonical, E'\\n' ORDER BY interest.id)
                FILTER (WHERE weight > 0 AND NOT muted AND topic_slug IS NULL) AS more_queries,
            string_agg(topic_slug, ' ' ORDER BY interest.id) FILTER (WHERE weight < 0 AND NOT muted) AS less_topics,
            string_agg(canonical, E'\\n' ORDER BY interest.id)
                FILTER (WHERE weight < 0 AND NOT muted AND topic_slug IS NULL) AS less_queries,
            string_agg(topic_slug, ' ' ORDER BY interest.id) FILTER (WHERE instant AND NOT muted) AS instant_topics,
            string_agg(canonical, E'\\n' ORDER BY interest.id)
                FILTER (WHERE instant AND NOT muted AND topic_slug IS NULL) AS instant_queries
        FROM interest JOIN query ON query.id = interest.query_id
        GROUP BY reader_id
    ) AS followed ON followed.reader_id = reader.id
    ORDER BY reader.id
"""
_COPY: Final = {
    Form.CSV: "COPY (" + _ROWS + ") TO STDOUT (FORMAT csv, HEADER true)",
    # Quoted as CSV with characters that JSON never holds bare, so that the line comes out as it is.
    Form.JSONL: f"COPY (SELECT to_json(each) FROM ({_ROWS}) AS each) TO STDOUT"  # noqa: S608 (our own constants)
    " (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')",
}


def export(
    database: Database, file: IO[bytes], form: Form = Form.CSV, *, on_progress: Callable[[int], None] | None = None
) -> int:
    """Write every reader with their preferences and interests, streamed; return the number of bytes.

    Topics stand by their slugs, parted by spaces, queries one a line. ``evidence`` is when the reader confirmed. The
    whole is one moment of the database. ``on_progress`` hears the bytes so far.
    """
    written = 0
    with database.connection() as connection, raw(connection).cursor() as cursor, cursor.copy(_COPY[form]) as copy:
        for block in copy:
            written += file.write(block)
            if on_progress is not None:
                on_progress(written)
    return written
