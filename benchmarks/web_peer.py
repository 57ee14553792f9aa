"""The day page by the book, to stand beside ours: FastAPI, a SQLAlchemy session, a Jinja template; nothing is kept."""

from __future__ import annotations

import os
from datetime import date

from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader
from sqlalchemy import create_engine, make_url, select
from sqlalchemy.orm import Session

from service import translation
from service.database.tables import Paper
from service.papers.archive import view
from service.web.site import FOLDER, asset


def app() -> FastAPI:
    """Run by uvicorn; the database's URL stands in PEER_DATABASE."""
    engine = create_engine(make_url(os.environ["PEER_DATABASE"]).set(drivername="postgresql+psycopg"), pool_size=40)
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )  # fmt: skip
    translation.install(environment)
    environment.globals |= {"asset": asset, "page_address": lambda: None, "form_stamp": str, "languages_offered": list}
    made = FastAPI()

    @made.get("/day/{day}", response_class=HTMLResponse)
    def page(day: date) -> str:
        with Session(engine) as session:
            rows = session.scalars(select(Paper).where(Paper.listed_on == day).order_by(Paper.upvotes.desc()).limit(50))
            papers = [view(row) for row in rows]
        values = {"papers": papers, "day": day, "heading": str(day), "page": 1, "pages": 6, "here": "papers"}
        return environment.get_template("day.html").render(values)

    return made
