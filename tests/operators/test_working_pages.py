"""The dashboard's working pages: readers, topics, note, preview, test send. Each act is written down."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from fastapi.testclient import TestClient
from httpx import Response
from lxml import html
from sqlalchemy import func, select, update

from service.database import Database
from service.database.tables import (
    AuditEvent,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Digest,
    Letter,
    OperatorRole,
    Reader,
    ReaderState,
)
from service.digests import notes, plan
from service.settings import Settings
from service.subscribers import interests
from service.subscribers.topics import catalogue, edits
from tests import factories
from tests.operators.conftest import csrf

_AT_THE_DOOR = ("signed in", "second factor enrolled")
Sit = Callable[[OperatorRole], TestClient]


@pytest.fixture
def reader(database: Database, settings: Settings) -> int:
    """With a digest that was sent."""
    reader_id = factories.reader(database, settings, "ada@example.org", topics=["robot-learning"], queries=["robots"])
    factories.edition(database, factories.record("Walking Robots <Learning>"))
    plan.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        session.execute(update(Delivery).values(state=DeliveryState.SENT, reply="250 2.0.0 taken"))
    return reader_id


def post(browser: TestClient, path: str, page: str, **fields: object) -> Response:
    """A form of ``page``, sent."""
    answer: Response = browser.post(path, data={"csrf": csrf(browser.get(page).text), **fields})
    return answer


def log(database: Database) -> list[tuple[str, str, str]]:
    with database.transaction() as session:
        lines = session.execute(
            select(AuditEvent.act, AuditEvent.subject, AuditEvent.detail)
            .where(AuditEvent.operator_id.is_not(None))
            .order_by(AuditEvent.id)
        ).all()
    return [(act, subject, detail) for act, subject, detail in lines if act not in _AT_THE_DOOR]


def kinds(database: Database) -> list[str]:
    with database.transaction() as session:
        return list(session.scalars(select(Delivery.kind).order_by(Delivery.id)))


def test_a_reader_is_found_their_story_told_and_helped(seated: Sit, database: Database, reader: int) -> None:
    editor = seated(OperatorRole.EDITOR)
    found = post(editor, "/admin/readers", "/admin/readers", asked="ADA@")
    assert f'href="/admin/readers/{reader}"' in found.text
    here = f"/admin/readers/{reader}"
    told = editor.get(here).text
    for words in ("ada@example.org", "Walking Robots &lt;Learning&gt;", "250 2.0.0 taken", "robot", "entered"):
        assert words in told, words
    with database.transaction() as session:
        digest = session.scalars(select(Digest.id)).one()

    answer = post(editor, f"{here}/resend", here, digest=digest)
    assert editor.get(answer.headers["location"]).text.count("Done: digest resent") == 1
    assert post(editor, f"{here}/resend", here, digest=digest).status_code == 409
    assert post(editor, f"{here}/resend", here, digest=digest + 1).status_code == 409
    assert post(editor, f"{here}/sign-in-link", here).status_code == 303
    assert "two within ten minutes" in post(editor, f"{here}/sign-in-link", here).text
    assert kinds(database) == [DeliveryKind.DIGEST, DeliveryKind.RESEND, DeliveryKind.SIGN_IN]
    assert post(editor, f"{here}/sign-out", here).status_code == 303
    assert post(editor, f"{here}/suppress", here, why=" ").status_code == 409
    assert post(editor, f"{here}/suppress", here, why="asked by phone, from ada@example.org").status_code == 303
    assert "Suppressed since" in editor.get(here).text
    assert "suppressed: lift that first" in post(editor, f"{here}/sign-in-link", here).text
    assert "suppressed: lift that first" in post(editor, f"{here}/resend", here, digest=digest).text
    assert post(editor, f"{here}/lift", here).status_code == 303
    assert "not suppressed" in post(editor, f"{here}/lift", here).text
    with database.transaction() as session:
        row = session.get_one(Reader, reader)
        assert (row.state, row.session_epoch) == (ReaderState.UNSUBSCRIBED, 1)
        second = session.scalars(select(Delivery.id).where(Delivery.kind == DeliveryKind.RESEND)).one()
    assert log(database) == [
        ("digest resent", f"reader {reader}", f"digest {digest} as delivery {second}"),
        ("sign-in link sent", f"reader {reader}", ""),
        ("reader signed out", f"reader {reader}", "everywhere"),
        ("address suppressed", f"reader {reader}", "asked by phone, from (an address)"),
        ("suppression lifted", f"reader {reader}", "now unsubscribed"),
    ]
    assert "asked by phone, from (an address)" in editor.get(here).text
    assert editor.get("/admin/readers/99").status_code == 404


def test_a_topic_is_edited_with_its_hits_and_its_mistakes_at_their_column(
    seated: Sit, database: Database, reader: int
) -> None:
    editor = seated(OperatorRole.EDITOR)
    here = "/admin/topics/edit/robot-learning"
    page = editor.get(here).text
    assert "Followers: 1" in page
    assert "1 paper in the last" in page
    said = {"slug": "robot-learning", "name": "Walkers", "description": "They walk", "group": "Robots"}
    tried = post(editor, "/admin/topics/save", here, **said, query="walking\n robots", only="try").text
    assert "1 paper in the last 30 days" in tried
    assert "Walking</mark> <mark>Robots" in tried
    assert 'value="Walkers"' in tried
    live = post(editor, "/admin/topics/try", here, query="walking AND (")
    assert "(at character 13)" in live.text
    assert "walking AND (\n            ^" in html.fromstring(live.text).text_content()
    wrong = post(editor, "/admin/topics/save", here, **said, query="walking AND (")
    assert (wrong.status_code, "(at character 13)" in wrong.text) == (400, True)
    assert log(database) == []
    before = topic_query(database)
    kept = editor.get("/topics").headers["etag"]
    assert editor.get("/topics", headers={"If-None-Match": kept}).status_code == 304
    assert post(editor, "/admin/topics/save", here, **said, query="walking\n robots").status_code == 303
    with database.transaction() as session:
        assert {each.label for each in interests.of(session, reader)} == {"Walkers", "robots"}
    # The site offers it as it is now, in its new group.
    assert "<h2>Robots</h2>" in editor.get("/topics", headers={"If-None-Match": kept}).text
    assert editor.get("/api/v1/topics/robot-learning").json()["query"] == "walking robots"

    new = {"slug": "moss", "name": "Moss", "description": "All moss", "group": "Plants", "query": "moss", "new": "yes"}
    assert post(editor, "/admin/topics/save", "/admin/topics/new", **new).status_code == 303
    again = post(editor, "/admin/topics/save", "/admin/topics/new", **new)
    assert (again.status_code, "there is a topic moss already" in again.text) == (400, True)
    assert post(editor, "/admin/topics/retire", here, slug="moss").status_code == 303
    assert "retire it instead" in post(editor, "/admin/topics/as-shipped", here, slug="moss").text
    assert post(editor, "/admin/topics/as-shipped", here, slug="robot-learning").status_code == 303
    assert "retired" in editor.get("/admin/topics").text
    assert [line[:2] for line in log(database)] == [
        ("topic edited", "topic robot-learning"),
        ("topic added", "topic moss"),
        ("topic retired", "topic moss"),
        ("topic as shipped", "topic robot-learning"),
    ]
    assert f"query was {before}"[:100] in log(database)[0][2]


def topic_query(database: Database) -> str:
    with database.transaction() as session:
        return edits.find(session, "robot-learning").entry.query


def test_a_note_is_previewed_saved_and_withdrawn(seated: Sit, database: Database) -> None:
    editor = seated(OperatorRole.EDITOR)
    words = "<b>Read</b> https://example.org/a."
    seen = post(editor, "/admin/note", "/admin/note", words=words, only="preview").text
    assert '&lt;b&gt;Read&lt;/b&gt; <a href="https://example.org/a"' in seen
    assert log(database) == []
    wrong = post(editor, "/admin/note", "/admin/note", words="see http://example.org")
    assert (wrong.status_code, "begin with https://" in wrong.text) == (400, True)
    days = {"when": "days", "first": "2030-01-01", "last": "nonsense"}
    assert "write each like" in post(editor, "/admin/note", "/admin/note", words=words, **days).text
    assert post(editor, "/admin/note", "/admin/note", words=words, **(days | {"last": "2030-01-02"})).status_code == 303
    assert "2030-01-01 to 2030-01-02" in editor.get("/admin/note").text
    assert post(editor, "/admin/note/withdraw", "/admin/note", note_id="1").status_code == 303
    assert post(editor, "/admin/note/withdraw", "/admin/note", note_id="7").status_code == 409
    with database.transaction() as session:
        (saved,) = notes.listing(session)
    assert saved.withdrawn_at is not None
    assert [line[0] for line in log(database)] == ["note saved", "note withdrawn"]


def test_any_digest_is_looked_at_in_a_frame_where_nothing_runs_and_tried_on_the_operator(
    seated: Sit, database: Database, reader: int
) -> None:
    editor = seated(OperatorRole.EDITOR)
    today = datetime.now(UTC).date()
    look = editor.get(f"/admin/look?reader={reader}&day={today}")
    frame = html.fromstring(look.text).xpath("//iframe")[0]
    assert frame.get("sandbox") == ""
    inside = editor.get(frame.get("src"))
    assert "Walking Robots" in inside.text
    assert "/preferences/preview" in inside.text
    assert "sandbox" in inside.headers["content-security-policy"]
    assert "Because you follow" in inside.text
    for query, said in (
        ("reader=99", "there is no reader 99"),
        ("reader=abc", "is no id of a reader"),
        (f"reader={reader}&day=2020-01-02", "got no digest on 2020-01-02"),
        (f"reader={reader}&day=nonsense", "is no day"),
        (f"reader={reader}&edition=77", "there is no edition 77"),
        (f"reader={reader}", "nothing new matches"),
        ("topic=nonsense", "no topic “nonsense”"),
    ):
        answer = editor.get(f"/admin/look?{query}")
        assert (answer.status_code, said in answer.text) == (404, True), query
    assert "Walking Robots" in editor.get("/admin/look?topic=arxiv:cs.CL").text

    here = "/admin/look?topic=arxiv:cs.CL"
    answer = post(editor, "/admin/look/test", here, topic="arxiv:cs.CL")
    assert "Done: test sent" in editor.get(answer.headers["location"]).text
    assert post(editor, "/admin/look/test", here, reader=str(reader), day=str(today)).status_code == 303
    with database.transaction() as session:
        letters = session.scalars(select(Letter).order_by(Letter.delivery_id)).all()
        assert {each.email for each in letters} == {"editor@example.org"}
        assert all(each.facts["subject"].startswith("[Test] ") for each in letters)
        assert session.scalars(select(func.count()).select_from(Digest)).one() == 1
    assert [(act, detail) for act, _, detail in log(database)] == [
        ("test sent", "topics arxiv:cs.CL"),
        ("test sent", f"reader {reader}, day {today}"),
    ]


def test_a_viewer_sees_all_of_it_and_changes_none(seated: Sit, database: Database, reader: int) -> None:
    viewer = seated(OperatorRole.VIEWER)
    here = f"/admin/readers/{reader}"
    with database.transaction() as session:
        digest = session.scalars(select(Digest.id)).one()
    pages = [
        "/admin/readers",
        here,
        "/admin/topics",
        "/admin/topics/edit/surveys",
        "/admin/note",
        f"/admin/look?digest={digest}",
    ]
    for page in pages:
        answer = viewer.get(page)
        assert answer.status_code == 200, page
        for form in html.fromstring(answer.text).xpath("//main//form[@method='post']/@action"):
            assert form in ("/admin/readers", "/admin/topics/save"), form
    assert post(viewer, "/admin/readers", here, asked="ada").status_code == 200
    assert post(viewer, "/admin/topics/try", here, query="robots").status_code == 200
    only = {"slug": "surveys", "query": "robots", "only": "try"}
    assert "1 paper in the last" in post(viewer, "/admin/topics/save", here, **only).text
    said = {"slug": "surveys", "name": "S", "description": "S", "group": "S", "query": "s"}
    for path in (
        *(f"{here}/{act}" for act in ("suppress", "lift", "sign-out", "sign-in-link", "resend")),
        "/admin/topics/save", "/admin/topics/retire", "/admin/topics/as-shipped", "/admin/note", "/admin/note/withdraw",
        "/admin/look/test",
    ):  # fmt: skip
        answer = post(viewer, path, here, **said, why="no reason", digest=str(digest), words="A note.", note_id="1")
        assert (path, answer.status_code) == (path, 403)
    assert viewer.get("/admin/topics/new").status_code == 403
    assert log(database) == []
    assert kinds(database) == [DeliveryKind.DIGEST]
    with database.transaction() as session:
        assert catalogue.edits(session) == []
