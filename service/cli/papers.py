"""Papers in, digests out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from service import rounds
from service.cli.door import complain, console, opened, opened_for_sending, print_json, progress
from service.digests import plan
from service.mails.compose import Composer
from service.operators import audit
from service.operators.audit import Act
from service.papers import coverage as covering
from service.papers import ingest as ingesting
from service.papers import sources
from service.subscribers import accounts
from service.subscribers.accounts import AccountError

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
_SHOWN_PROBLEMS = 20


def ingest(
    file: Annotated[Path | None, typer.Option(help="Read this file instead of the sources.")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="page, huggingface, arxiv-rss or jsonl; guessed without it.")
    ] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every configured source, and then what is known of each day.")
    ] = False,
    json: Json = False,
) -> None:
    """Take new papers from the configured sources, or from one file."""
    if every and file is not None:
        raise typer.BadParameter("--all reads the configured sources, --file reads one file: give one of them")
    if form is not None and file is None:
        raise typer.BadParameter("--format goes with --file")
    source = sources.from_file(file, form) if file is not None else None
    with opened() as (settings, database), progress(json) as tell:
        if source is not None:
            step = (lambda count: tell(f"read {source.origin}", count)) if tell else None
            reports = [ingesting.ingest(database, source, datetime.now(UTC).date(), on_progress=step)]
        else:
            reports = list(rounds.gather(database, settings, tell))
        with database.transaction() as session:
            if any(report.seen for report in reports):
                numbers = ", ".join(f"{each.source}: {each.new} new of {each.seen} rows" for each in reports)
                audit.record(session, None, Act.PAPERS_TAKEN, f"file {file.name}" if file else "sources", numbers)
            known = covering.listing(session, settings.look_back_days + 1) if every else []
    if json and every:
        print_json({"sources": [_as_row(report) for report in reports], "coverage": [asdict(each) for each in known]})
    elif json:
        print_json([_as_row(report) for report in reports] if file is None else _as_row(reports[0]))
    else:
        for report in reports:
            _print_report(report)
        if every:
            _print_coverage(known)
    if file is not None and (reports[0].error or (reports[0].seen and reports[0].rejected == reports[0].seen)):
        raise typer.Exit(2)
    if reports and all(report.error for report in reports):
        raise typer.Exit(1)


def coverage(
    days: Annotated[int, typer.Option(min=1, max=365, help="How many days back.")] = 14,
    json: Json = False,
) -> None:
    """Which days of which source have been read, how far, and why not further. Exit 1 where a day is overdue."""
    with opened() as (settings, database), database.transaction() as session:
        known = covering.listing(session, days)
        overdue = covering.overdue(session, settings.look_back_days)
    if json:
        print_json({"days": [asdict(each) for each in known], "overdue": [asdict(each) for each in overdue]})
    else:
        _print_coverage(known)
        for late in overdue:
            complain(f"{late.source}: {len(late.days)} overdue since {late.days[0]}: {late.error or 'never told of'}")
    if overdue:
        raise typer.Exit(1)


def run_round(
    now: Annotated[
        bool, typer.Option("--now", help="For all active readers, not only those whose hour has come.")
    ] = False,
    json: Json = False,
) -> None:
    """Cut an edition, match it, plan the digests and send them."""
    with opened_for_sending() as (settings, database), progress(json) as tell:
        with database.transaction() as session:
            audit.record(session, None, Act.ROUND_BEGUN, "", "every active reader" if now else "who is due")
        report = rounds.run(database, settings, tell, everyone=now)
    if json:
        row = asdict(report)
        del row["deferred"]
        print_json(row)
    else:
        edition = f"Edition {report.edition}: {report.papers} papers" if report.edition else "No new papers"
        console.print(
            f"{edition}. {report.readers} readers, {report.queued} digests planned:"
            f" {report.sent} sent, {report.failed} failed."
        )
    if report.deferred:
        complain(
            f"{report.deferred} not accepted yet: they stay in the outbox and are tried again (`paperround doctor`)"
        )
        raise typer.Exit(1)


def preview(
    email: Annotated[str, typer.Argument(help="The reader's address.")],
    html: Annotated[Path | None, typer.Option(help="Write the HTML part to this file.")] = None,
    json: Json = False,
) -> None:
    """Show the digest that a reader would get now, without sending it."""
    with opened() as (settings, database):
        with database.transaction() as session:
            reader = accounts.find(session, email)
        if reader is None:
            raise AccountError(f"there is no reader {email}: `paperround readers list` shows them all")
        # What has arrived belongs to the next digest, and only editions are matched.
        rounds.cut_and_match(database)
        draft = plan.peek(database, reader.id)
        if draft is None:
            console.print("Nothing new matches: no mail would be sent.")
            return
        with database.transaction() as session:
            mail = Composer(settings).preview(session, reader.id, draft)
    if html is not None:
        html.write_text(mail.html, encoding="utf-8")
    if json:
        print_json(asdict(mail))
    else:
        console.print(f"Subject: {mail.subject}\n\n{mail.text}", markup=False, highlight=False, soft_wrap=True)


def _as_row(report: ingesting.IngestReport) -> dict[str, object]:
    return asdict(report) | {"unchanged": report.unchanged}


def _print_report(report: ingesting.IngestReport) -> None:
    taken = report.seen - report.rejected
    console.print(
        f"{report.origin}: {taken} papers of {report.seen} rows;"
        f" {report.new} new, {report.updated} updated, {report.unchanged} unchanged, {report.rejected} rejected;"
        f" {report.complete} with date and authors or organization",
        soft_wrap=True,
        highlight=False,
    )
    if report.problems:
        table = Table("where", "problem", box=None)
        for problem in report.problems[:_SHOWN_PROBLEMS]:
            table.add_row(problem.position, problem.problem)
        console.print(table)
        if report.rejected > _SHOWN_PROBLEMS:
            console.print(f"… and {report.rejected - _SHOWN_PROBLEMS} more; the first thousand with --json")
    if report.error:
        complain(f"{report.source}: {report.error}")


def _print_coverage(known: Sequence[covering.SourceDay]) -> None:
    table = Table("day", "source", "state", "expected", "taken", "rejected", "attempts", "read (UTC)", "why not",
                  box=None)  # fmt: skip
    for each in known:
        read_at = f"{each.read_at:%Y-%m-%d %H:%M}" if each.read_at else "—"
        expected = "—" if each.expected is None else str(each.expected)
        numbers = (expected, str(each.taken), str(each.rejected), str(each.attempts))
        table.add_row(str(each.day), each.source, each.state, *numbers, read_at, escape(each.error or ""))
    console.print(table)
