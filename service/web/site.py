"""What every page stands on, and how a template becomes an answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Final

from anyio import CapacityLimiter
from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from sqlalchemy.exc import InterfaceError, OperationalError

import service
from service import translation
from service.database import Database
from service.mails import evidence
from service.matching.marking import Piece
from service.matching.search import Archive
from service.settings import Settings
from service.subscribers import consent
from service.subscribers.consent import Visit
from service.subscribers.tokens import Links
from service.subscribers.topics import catalogue
from service.subscribers.topics.catalogue import Catalogue
from service.translation import gettext as _
from service.web.examples import Examples
from service.web.kept import Kept
from service.web.serving import speaking
from service.web.serving.address import CURRENT
from service.web.serving.limits import Limits

FOLDER: Final = Path(service.__file__).parent.parent / "templates" / "web"
STATIC: Final = FOLDER / "static"
_BESIDE_A_CARD: Final = 400
_BESIDE_READINGS: Final = 4_000
"""Bytes that one takes beside its text, and a reading ten for each of its abstract's characters, about."""
_PREVIEWS_AT_ONCE: Final = 2
_MARK: Final = Markup("<mark>{}</mark>")
_CARD_LEVEL: Final = 3
"""Of the heading of a card in a list that is kept by cards."""


@dataclass(frozen=True)
class Site:
    """One running site."""

    settings: Settings
    database: Database

    @cached_property
    def archive(self) -> Archive:
        return Archive(self.database)

    @cached_property
    def cards(self) -> Kept[Markup]:
        """Papers as lists show them, below a heading of the list's own."""
        card = self._templates.get_template("macros.html").module.paper_card  # type: ignore[attr-defined]  # a macro
        return Kept(
            self.database,
            self.archive,
            lambda paper: Markup(card(paper, _CARD_LEVEL)),  # noqa: S704 (a template's)
            room=self.settings.page_cache_mib * 2**20 // 4,
            weight=lambda made: len(made) + _BESIDE_A_CARD,
        )

    @cached_property
    def readings(self) -> Kept[evidence.Readings]:
        """Papers with the words of their texts found, to be marked by any query."""
        return Kept(
            self.database,
            self.archive,
            evidence.read,
            room=self.settings.page_cache_mib * 2**20 // 4,
            weight=lambda made: _BESIDE_READINGS + 10 * len(made.paper.abstract),
        )

    @cached_property
    def examples(self) -> Examples:
        """Papers as previews show them."""
        macro = self._templates.get_template("macros.html").module.example  # type: ignore[attr-defined]  # a macro
        return Examples(self.archive, self.readings, lambda text: Markup(macro(text)))  # noqa: S704 (a template's)

    @cached_property
    def preview(self) -> Callable[[object], str]:
        """A preview as a piece of a page (:class:`service.web.papers.previewing.PreviewView`)."""
        macro: Callable[[object], str] = self._templates.get_template("macros.html").module.preview  # type: ignore[attr-defined]  # a macro
        return macro

    @cached_property
    def previews_at_once(self) -> CapacityLimiter:
        """Turns of those who want a preview. More at once would finish no sooner, and hold up everybody else."""
        return CapacityLimiter(_PREVIEWS_AT_ONCE)

    @cached_property
    def links(self) -> Links:
        return Links(self.settings)

    @cached_property
    def limits(self) -> Limits:
        return Limits(self.settings)

    @property
    def has_mailbox(self) -> bool:
        """Whether mail goes to the local mailbox, which then has pages."""
        return self.settings.embedded and self.settings.smtp_url is None

    @property
    def wording(self) -> str:
        """What a reader agrees to; what is shown is what is recorded."""
        return _(consent.SUBSCRIBE_WORDING)

    @property
    def catalogue(self) -> Catalogue:
        """The topics as they stand; the last ones known while the database is away."""
        try:
            with self.database.transaction() as session:
                found = catalogue.current(session)
        except (InterfaceError, OperationalError):
            return self._last_catalogue[0]
        self._last_catalogue[0] = found
        return found

    @cached_property
    def _last_catalogue(self) -> list[Catalogue]:
        return [catalogue.load()]

    @cached_property
    def _templates(self) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            extensions=["jinja2.ext.i18n"],
            trim_blocks=True,
            lstrip_blocks=True,
            # They are part of the program: a new version is a new process.
            auto_reload=False,
        )
        translation.install(environment)
        environment.globals["languages_offered"] = speaking.offered
        environment.globals["all_languages"] = translation.LANGUAGES
        environment.globals["asset"] = asset
        environment.globals["marked"] = marked
        environment.globals["mailbox_here"] = self.has_mailbox
        environment.globals["postal_address"] = self.settings.postal_address
        environment.globals["here"] = ""
        environment.globals["origin"] = self.settings.origin
        environment.globals["page_address"] = CURRENT.get
        environment.globals["form_stamp"] = self.limits.stamp
        return environment

    def page(self, template: str, values: Mapping[str, Any], *, status: int = 200) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(values), status_code=status)

    def message(
        self, heading: str, *lines: str, links: tuple[tuple[str, str], ...] = (), status: int = 200
    ) -> HTMLResponse:
        """A page that says one thing."""
        values = {
            "heading": heading,
            "lines": lines,
            "links": [{"label": label, "url": url} for label, url in links],
        }
        return self.page("message.html", values, status=status)


def visit(request: Request) -> Visit:
    """Where an act came from. Forwarding headers count only where the settings name
    the proxy (``app.create_app``): anybody can send them."""
    return Visit(
        origin=request.url.path.split("/")[1] or "front page",
        ip=_address(request.client.host if request.client else None),
        user_agent=request.headers.get("user-agent"),
    )


def _address(host: str | None) -> str | None:
    # A test client or a socket has a name, not an address; the column takes addresses only.
    return host if host and all(character in "0123456789abcdefABCDEF.:" for character in host) else None


def marked(pieces: Iterable[Piece]) -> Markup:
    """A text with what matched in ``mark`` elements."""
    return Markup("").join(_MARK.format(each.text) if each.marked else each.text for each in pieces)


@cache
def asset(name: str) -> str:
    """A static file's URL with a piece of its hash: it may be kept for ever, and a changed one is fetched anew."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:10]
    return f"/static/{name}?v={digest}"
