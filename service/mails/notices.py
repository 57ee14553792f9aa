"""Mails to a reader about the subscription itself: confirm, welcome, the link to sign in, a pause that ended."""

from __future__ import annotations

import re
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database.tables import DeliveryKind, Interest, Query
from service.mails import message
from service.mails.addressee import Addressee
from service.mails.letterhead import Letterhead
from service.mails.parts import Parts
from service.matching import language
from service.subscribers import interests
from service.translation import ngettext

_NO_LINK: Final = re.compile(r"[\w\s\"*()|&+’'-]+")


def notice_parts(letterhead: Letterhead, session: Session, kind: DeliveryKind, reader: Addressee) -> Parts:
    """The notice of this kind, in the language of the moment."""
    links = letterhead.links
    values: dict[str, Any] = {
        "preferences_url": links.preferences(reader.id),
        "token_url": links.access_token(reader.id),
        "unsubscribe_url": links.unsubscribe(reader.id),
        "hour": f"{reader.digest_hour:02d}:00",
        "timezone": reader.timezone,
    }
    match kind:
        case DeliveryKind.CONFIRM:
            values["confirm_url"] = links.confirm(reader.id)
            values["topics"] = _followed(session, reader.id)
        case DeliveryKind.SIGN_IN:
            values["sign_in_url"] = links.sign_in(reader.id)
    return letterhead.rendered(kind.value, values, plain_text=reader.plain_text)


def _followed(session: Session, reader_id: int) -> str:
    """What somebody asked for, in a line."""
    statement = (
        select(Interest.label, Interest.topic_slug, Query.canonical)
        .join(Query, Query.id == Interest.query_id)
        .where(Interest.reader_id == reader_id, ~Interest.muted)
        .order_by(Interest.id)
    )
    # What a stranger typed into a form is not repeated at length to somebody who never asked for it; and where a
    # mail program could make a link of it, what was understood is said instead.
    labels = [
        interests.said(label, topic)
        if topic or _NO_LINK.fullmatch(label)
        else language.explain(language.recall(canonical))
        for label, topic, canonical in session.execute(statement)
    ]
    named = ", ".join(message.shortened(label, 40) for label in labels[:8])
    if len(labels) <= 8:
        return named
    return ngettext("%(named)s and %(num)s more", "%(named)s and %(num)s more", len(labels) - 8, named=named)
