"""Mails to an address that is not, or no longer, a reader's (``outbox.letters``)."""

from __future__ import annotations

from service.database.tables import DeliveryKind
from service.mails import quoted
from service.mails.letterhead import Letterhead
from service.mails.parts import Parts
from service.outbox.letters import LetterView


def letter_parts(letterhead: Letterhead, kind: DeliveryKind, letter: LetterView) -> Parts:
    """The letter, in the language of the moment. A test mail is as it was frozen (``digests.trial``)."""
    values = dict(letter.facts)
    match kind:
        case DeliveryKind.TEST:
            page = values["html"]
            return Parts(values["subject"], [quoted.encoded(values["text"])], [quoted.encoded(page)] if page else [])
        case DeliveryKind.ADDRESS_CONFIRM:
            values["address_url"] = letterhead.links.address(values["change"])
        case DeliveryKind.OPERATOR_LINK:
            values["operator_url"] = letterhead.links.operator(values["operator"])
    return letterhead.rendered(kind.value, values, plain_text=letter.plain_text)
