"""The command line on the embedded database, each command a process, as an operator uses it."""

from __future__ import annotations

import json
import mailbox
from email import policy
from email.parser import BytesParser
from pathlib import Path

import pytest

from tests.cli.conftest import Run

pytestmark = pytest.mark.slow

ROWS = "\n".join(
    json.dumps({"title": title, "id": f"2601.{number:05d}", "abstract": f"On {title}.", "categories": ["cs.RO"]})
    for number, title in enumerate(["Walking Robots", "Swimming Robots", "A Survey of Fish"], 1)
)


@pytest.mark.usefixtures("standing")
def test_a_whole_round_by_hand(paperround: Run, home: Path, tmp_path: Path) -> None:
    papers = tmp_path / "papers.jsonl"
    papers.write_text(ROWS + "\nnot a row\n")
    taken = json.loads(paperround("ingest", "--file", papers, "--json").stdout)
    assert (taken["seen"], taken["new"], taken["rejected"]) == (4, 3, 1)
    assert [problem["position"] for problem in taken["problems"]] == ["line 4"]
    again = paperround("ingest", "--file", papers)
    assert "3 papers of 4 rows; 0 new, 0 updated, 3 unchanged, 1 rejected" in again.stdout

    interests = {"robots@example.org": "robots -survey", "fish@example.org": "fish", "birds@example.org": "birds"}
    for email, query in interests.items():
        added = paperround("readers", "add", email, "--query", query, "--confirmed")
        assert added.returncode == 0, added.stderr
    shown = paperround("preview", "fish@example.org")
    assert "A Survey of Fish" in shown.stdout
    papers.write_text('{"title": "Diving Robots", "id": "2601.00009"}')
    assert "1 new" in paperround("ingest", "--file", papers).stdout
    report = json.loads(paperround("round", "--now", "--json").stdout)
    assert report == {"edition": 2, "papers": 1, "readers": 3, "queued": 2, "sent": 2, "failed": 0}
    report = json.loads(paperround("round", "--now", "--json").stdout)
    assert report == {"edition": None, "papers": 0, "readers": 3, "queued": 0, "sent": 0, "failed": 0}

    box = mailbox.Maildir(home / "mailbox", create=False)
    mails = {
        mail["To"]: mail
        for mail in (BytesParser(policy=policy.default).parsebytes(box.get_bytes(key)) for key in box.iterkeys())
    }
    assert set(mails) == {"robots@example.org", "fish@example.org"}
    text = mails["robots@example.org"].get_body(("plain",))
    assert text is not None
    assert "Walking Robots" in text.get_content()
    assert "Fish" not in text.get_content()

    listed = json.loads(paperround("readers", "list", "--json").stdout)
    assert {reader["email"] for reader in listed} == set(interests)
    followed = json.loads(paperround("readers", "show", "fish@example.org", "--json").stdout)
    assert followed["interests"][0]["canonical"] == "fish"
    assert paperround("readers", "remove", "fish@example.org", "--yes").returncode == 0
    assert paperround("readers", "show", "fish@example.org").returncode == 2


def one_line(run: Run, *arguments: str | Path, **more: str) -> str:
    """The line of complaint of a command that must refuse."""
    done = run(*arguments, **more)
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    return done.stderr


@pytest.mark.usefixtures("standing")
def test_bad_input_is_one_line_and_status_2(paperround: Run, tmp_path: Path) -> None:
    assert "cannot receive mail" in one_line(paperround, "readers", "add", "nobody")
    assert "there is no topic" in one_line(paperround, "readers", "add", "a@example.org", "--topic", "nonsense")
    assert "not closed" in one_line(paperround, "readers", "add", "a@example.org", "--query", "robots (")
    assert "there is no reader" in one_line(paperround, "preview", "a@example.org")
    assert "cannot be read" in one_line(paperround, "ingest", "--file", tmp_path / "nowhere")
    broken = tmp_path / "broken.xml"
    broken.write_bytes(b"\x00\x01\x02")
    assert "no known format" in one_line(paperround, "ingest", "--file", broken)
    assert json.loads(paperround("readers", "list", "--json").stdout) == []


def test_settings_that_cannot_work_are_one_line_and_status_2(paperround: Run) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    assert "PAPERROUND_SECRET is missing" in one_line(paperround, "round", "--now", PAPERROUND_DATABASE_URL=url)
    production = {"PAPERROUND_DATABASE_URL": url, "PAPERROUND_SECRET": "x" * 40, "PAPERROUND_SMTP_URL": "smtp://x"}
    assert "the database does not answer" in one_line(paperround, "round", "--now", **production)
    assert "PAPERROUND_PORT is not usable" in one_line(paperround, "doctor", PAPERROUND_PORT="none")
    assert "unset it" in one_line(paperround, "up", **production)
    assert "start it with `paperround up`" in one_line(paperround, "web")


@pytest.mark.usefixtures("standing")
def test_doctor_and_topics_speak_json(paperround: Run) -> None:
    findings = json.loads(paperround("doctor", "--json").stdout)
    assert {finding["check"] for finding in findings} >= {"settings", "disk", "broker", "relay", "database"}
    topics = json.loads(paperround("topics", "--all", "--json").stdout)
    assert len(topics) > 200
    assert paperround("topics").returncode == 0
    assert "paperround 0." in paperround("--version").stdout


@pytest.mark.usefixtures("standing")
def test_without_a_network_ingest_says_so_and_exits_1(paperround: Run) -> None:
    done = paperround("ingest")
    assert done.returncode == 1
    assert done.stderr.count("cannot be reached") == 2
    assert "Traceback" not in done.stderr
    done = paperround("coverage", "--json")
    assert done.returncode == 1, "days of the look-back are overdue"
    told = json.loads(done.stdout)
    assert {(day["source"], day["state"]) for day in told["days"]} == {("arxiv", "failed"), ("huggingface", "failed")}
    assert [len(late["days"]) for late in told["overdue"]] == [2, 2]
    shown = paperround("coverage")
    assert "cannot be reached" in shown.stdout
    assert "arxiv: 2 overdue since" in shown.stderr
    findings = {each["check"]: each["verdict"] for each in json.loads(paperround("doctor", "--json").stdout)}
    assert findings["coverage arxiv"] == "warning"


def test_an_upgrade_says_what_waits_backs_up_and_is_done_once(paperround: Run, tmp_path: Path) -> None:
    fresh = paperround("upgrade", "--check")
    assert fresh.returncode == 1, fresh.stderr
    assert "pending migrations: 0001, " in fresh.stdout
    done = paperround("upgrade", "--grant")
    assert done.returncode == 0, done.stderr
    kept = tmp_path / "before.backup"
    again = paperround("upgrade", "--backup", kept)
    assert again.returncode == 0, again.stderr
    assert "No migration is pending." in again.stdout
    assert f"Backup written to {kept}" in again.stdout
    assert kept.stat().st_size > 0
    assert "is there already" in one_line(paperround, "upgrade", "--backup", kept)
