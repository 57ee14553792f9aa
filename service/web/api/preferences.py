"""A reader's own subscription, by bearer token: preferences, feed, tokens, leaving."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response
from sqlalchemy.orm import Session

from service.database.tables import ReaderState
from service.subscribers import access, accounts, interests
from service.subscribers.accounts import Preferences, ReaderView
from service.subscribers.interests import Wish
from service.web.api.bearer import CHALLENGE, Credentials, SignedIn
from service.web.api.shapes import FeedOut, InterestsIn, PreferencesIn, PreferencesOut
from service.web.serving.address import FORMATS
from service.web.site import Site, visit


def routes(site: Site) -> APIRouter:
    router = APIRouter(tags=["own subscription"])

    @router.delete("/tokens/current", status_code=204)
    def revoke_token(_reader: SignedIn, credentials: Credentials) -> None:
        """End the token that is used for this request."""
        if credentials is not None:
            with site.database.transaction() as session:
                access.revoke(session, credentials.credentials)

    @router.delete("/tokens", status_code=204)
    def revoke_all_tokens(reader: SignedIn) -> None:
        """End every token of this reader."""
        with site.database.transaction() as session:
            access.revoke_all(session, reader)

    @router.get("/preferences")
    def read_preferences(response: Response, reader: SignedIn) -> PreferencesOut:
        """When, how much and what this reader gets."""
        response.headers["Cache-Control"] = "no-store"
        with site.database.transaction() as session:
            return _preferences(session, _existing(session, reader))

    @router.patch("/preferences")
    def change_preferences(response: Response, reader: SignedIn, wanted: PreferencesIn) -> PreferencesOut:
        """Change what is given, all of it or nothing."""
        response.headers["Cache-Control"] = "no-store"
        with site.database.transaction() as session:
            before = _existing(session, reader)
            preferences = Preferences(
                hour=before.hour if wanted.hour is None else wanted.hour,
                timezone=before.timezone if wanted.timezone is None else wanted.timezone,
                weekdays=before.weekdays if wanted.weekdays is None else wanted.weekdays,
                paper_limit=before.paper_limit if wanted.paper_limit is None else wanted.paper_limit,
            )
            view = accounts.update(session, reader, site.settings, preferences)
            if wanted.interests is not None:
                interests.replace(session, reader, wishes(session, wanted.interests))
            return _preferences(session, view)

    @router.get("/feed")
    def read_feed(response: Response, reader: SignedIn) -> FeedOut:
        """The secret addresses of this reader's own feed."""
        response.headers["Cache-Control"] = "no-store"
        with site.database.transaction() as session:
            return _feed(site, access.feed_token(session, site.settings, reader))

    @router.post("/feed/rotate")
    def rotate_feed(response: Response, reader: SignedIn) -> FeedOut:
        """New addresses for this reader's own feed; the old ones are void at once."""
        response.headers["Cache-Control"] = "no-store"
        with site.database.transaction() as session:
            return _feed(site, access.rotate_feed(session, site.settings, reader))

    @router.delete("/subscription", status_code=204)
    def unsubscribe(request: Request, reader: SignedIn) -> None:
        """Unsubscribe: no more mails. Twice is as good as once."""
        with site.database.transaction() as session:
            accounts.unsubscribe(session, site.settings, reader, visit(request))

    return router


def wishes(session: Session, wanted: InterestsIn) -> list[Wish]:
    """What a body asks for, understood. Raises InterestError, QueryError."""
    return [
        *interests.from_topics(session, wanted.topics),
        *interests.from_queries(wanted.queries),
        *interests.from_queries(wanted.muted, muted=True),
    ]


def _existing(session: Session, reader_id: int) -> ReaderView:
    reader = accounts.get(session, reader_id)
    if reader is None or reader.state == ReaderState.PENDING:
        raise HTTPException(401, "this subscription does not exist any more", CHALLENGE)
    return reader


def _preferences(session: Session, reader: ReaderView) -> PreferencesOut:
    return PreferencesOut.of(reader, interests.of(session, reader.id))


def _feed(site: Site, token: str) -> FeedOut:
    atom, rss, json_feed = (f"{site.settings.origin}/feeds/mine/{token}.{form}" for form in FORMATS)
    return FeedOut(atom=atom, rss=rss, json_feed=json_feed)
