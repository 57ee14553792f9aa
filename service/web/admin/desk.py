"""The frame of every page of the dashboard: who may see it, who may act, and how an act is recorded.

A page that shows something::

    @router.get("/admin/log")
    def log(request: Request) -> Response:
        return desk.see(request, lambda seat: desk.page(request, seat, "log.html", {...}))

An act, one line in the audit log with it (its form holds ``{{ csrf() }}``)::

    @router.post("/admin/trouble/leases")
    def release(request: Request, csrf: Csrf = "") -> Response:
        def act(session: Session, seat: Seat) -> Done:
            number = remedies.release(session)
            return Done(Act.LEASES_RELEASED, "", f"deliveries: {number}", to="/admin/trouble")

        return desk.act(request, csrf, OperatorRole.EDITOR, act)
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from markupsafe import Markup
from sqlalchemy.orm import Session
from starlette.responses import Response

from service.database.tables import OperatorRole
from service.doorbell import Task, doorbell
from service.operators import accounts, audit, passkeys, sessions
from service.operators.audit import Act
from service.operators.sessions import Seat
from service.web.admin import navigation
from service.web.site import Site

COOKIE: Final = "paperround_operator"
PATH: Final = "/admin"
SIGN_IN: Final = "/admin/sign-in"
CODE: Final = "/admin/code"
OWN: Final = "/admin/sessions"
Csrf = Annotated[str, Form()]
"""The hidden field that every form of the dashboard has."""
_FIELD: Final = Markup('<input type="hidden" name="csrf" value="{}">')


@dataclass(frozen=True, slots=True)
class Done:
    """What an act did: its line in the audit log, and where the operator goes on."""

    act: Act
    subject: str
    """To what, by id: "delivery 12"; may be empty."""
    detail: str
    to: str
    """The page that follows; it shows the line."""
    ring: Task | None = None
    """Whose work begins with it."""


class Refused(Exception):
    """An act that cannot be: one line with the remedy. Nothing of it stays."""


class Desk:
    """What the pages of the dashboard stand on."""

    def __init__(self, site: Site) -> None:
        self.site = site

    def seat(self, request: Request) -> Seat | None:
        """Who asks; they may lack the second factor."""
        with self.site.database.transaction() as session:
            return sessions.read(session, self.site.settings, request.cookies.get(COOKIE))

    def see(
        self, request: Request, page: Callable[[Seat], Response], role: OperatorRole = OperatorRole.VIEWER
    ) -> Response:
        """The page for who is signed in and may; others are sent to the door, or told what they lack (403)."""
        seat = self.seat(request)
        if seat is None:
            return RedirectResponse(SIGN_IN, 303)
        if not seat.verified:
            return RedirectResponse(CODE, 303)
        if not accounts.allows(seat.role, role):
            line = f"This needs the role {role}; yours is {seat.role}. An owner can change it."
            return self.said(request, seat, "Not with your role", line, status=403)
        return page(seat)

    def posted(self, request: Request, csrf: str, role: OperatorRole, handle: Callable[[Seat], Response]) -> Response:
        """As :meth:`see`, for a form: it must be one that this session was shown."""

        def checked(seat: Seat) -> Response:
            if not self.is_of(seat, csrf):
                line = "This form was not of this session, or open since before you signed in: open the page anew."
                return self.said(request, seat, "That form is not valid", line, status=403)
            return handle(seat)

        return self.see(request, checked, role)

    @staticmethod
    def is_of(seat: Seat, csrf: str) -> bool:
        """Whether a form's hidden field is this session's."""
        return any(hmac.compare_digest(csrf.encode(), each.encode()) for each in seat.forms)

    @property
    def has_passkeys(self) -> bool:
        """Whether this site can have passkeys at all."""
        return passkeys.relying_party(self.site.settings) is not None

    def door_values(self, *, email: str = "", errors: Sequence[str] = ()) -> dict[str, Any]:
        """What the page at the door is made of."""
        return {"email": email, "errors": errors, "with_passkey": self.has_passkeys}

    def act(self, request: Request, csrf: str, role: OperatorRole, act: Callable[[Session, Seat], Done]) -> Response:
        """Do something and write it into the audit log, in one transaction; then on to the page that tells.

        ``act`` may raise :class:`Refused` or an OperatorError: nothing was done, and the line is shown (409).
        """

        def handle(seat: Seat) -> Response:
            try:
                with self.site.database.transaction() as session:
                    done = act(session, seat)
                    line = audit.record(session, seat.operator_id, done.act, done.subject, done.detail)
            except (Refused, accounts.OperatorError) as error:
                return self.said(request, seat, "That is not possible", f"{error}.", status=409)
            if done.ring is not None:
                doorbell(self.site.settings).ring(done.ring)
            joint = "&" if "?" in done.to else "?"
            return RedirectResponse(f"{done.to}{joint}done={line}", 303)

        return self.posted(request, csrf, role, handle)

    def page(
        self, request: Request, seat: Seat, template: str, values: Mapping[str, Any], *, status: int = 200
    ) -> HTMLResponse:
        """A template of ``templates/web/admin`` in the frame."""
        frame = {
            "seat": seat,
            "here": request.url.path,
            "entries": [each for each in navigation.ENTRIES if accounts.allows(seat.role, each.role)],
            "may_act": accounts.allows(seat.role, OperatorRole.EDITOR),
            "is_owner": accounts.allows(seat.role, OperatorRole.OWNER),
            "csrf": lambda: _FIELD.format(seat.csrf),
            "done": self._done(request, seat),
        }
        return self.site.page(f"admin/{template}", {**frame, **values}, status=status)

    def said(self, request: Request, seat: Seat, heading: str, *lines: str, status: int = 200) -> HTMLResponse:
        """A page that says one thing."""
        return self.page(request, seat, "said.html", {"heading": heading, "lines": lines}, status=status)

    def _done(self, request: Request, seat: Seat) -> str:
        """The line of the act that led here; only the operator's own, so that no link can put words on a page."""
        number = request.query_params.get("done", "")
        if not (number.isascii() and number.isdigit() and len(number) < 19):
            return ""
        with self.site.database.transaction() as session:
            line = audit.one(session, int(number), seat.operator_id)
        return "" if line is None else ". ".join(part for part in (line.act, line.subject, line.detail) if part)
