"""What all mails of an installation have alike: who they are from, where their links lead, their templates."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from service.mails import quoted
from service.mails.message import Sender
from service.mails.parts import Parts
from service.mails.templates import templates
from service.settings import Settings
from service.subscribers.tokens import Links

SITE_NAME: Final = "Paperround"


class Letterhead:
    """One installation's. ``links`` may be others, such as lead nowhere, for mails that are only looked at."""

    def __init__(self, settings: Settings, links: Links | None = None) -> None:
        self.links = links or Links(settings)
        self.templates = templates()
        self.origin = settings.origin
        self.sender = Sender(
            name=settings.sender_name,
            address=settings.sender_address,
            list_id=f"digest.{settings.mail_domain}",
            feedback_sender=hashlib.sha256(settings.mail_domain.encode()).hexdigest()[:12],
        )
        self.site: Mapping[str, Any] = {
            "site_name": SITE_NAME,
            "origin": settings.origin,
            "postal_address": settings.postal_address,
        }
        """For the templates."""

    def rendered(self, mail: str, values: Mapping[str, Any], *, plain_text: bool) -> Parts:
        """A mail that is made for one person alone, in the language of the moment: the templates of the folder ``mail``
        with ``values`` in them."""
        words = {**self.site, **values}
        subject = self.templates.line(mail, "subject", words)
        words |= {"title": subject, "preheader": self.templates.line(mail, "preheader", words)}
        page = [] if plain_text else [quoted.encoded(self.templates.html(mail, words))]
        return Parts(subject, [quoted.encoded(self.templates.text(mail, words))], page)
