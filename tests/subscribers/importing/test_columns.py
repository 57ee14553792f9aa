"""What the cells of a row mean."""

import pytest

from service.database.tables import Abstracts, Cadence, Weight
from service.subscribers.accounts import Preferences
from service.subscribers.importing import columns
from service.subscribers.importing.columns import Blocked, Column, ColumnsError, Entry, RowProblem, Shape, Understanding
from service.subscribers.interests import Wish

TOPICS = {
    "reasoning": Wish("Reasoning", "title:reasoning", "reasoning"),
    "surveys": Wish("Surveys", "title:survey", "surveys"),
}


def _row(header: str, row: str, mapping: dict[str, str] | None = None) -> Entry | Blocked:
    layout = columns.layout(header.split(","), mapping)
    return Understanding(layout, TOPICS, Preferences(hour=6), "en").entry(1, row.split(","))


def test_our_own_columns_are_understood() -> None:
    entry = _row(
        "email,topics,queries,muted_topics,hour,timezone,weekdays,limit,language",
        "Ada@Example.ORG,reasoning,robot arm,surveys,18:00,Europe/Berlin,mon fri,5,de",
    )

    assert isinstance(entry, Entry)
    assert entry.address.email == "Ada@example.org"
    assert entry.preferences == Preferences(hour=18, timezone="Europe/Berlin", weekdays=0b0010001, paper_limit=5)
    assert entry.language == "de"
    assert [(wish.label, wish.topic_slug, wish.muted) for wish in entry.wishes] == [
        ("Reasoning", "reasoning", False),
        ("robot arm", None, False),
        ("Surveys", "surveys", True),
    ]


def test_how_mails_look_and_what_weighs_how_much_is_understood() -> None:
    entry = _row(
        "email,weekdays,cadence,abstracts,plain text,trending,topics,more_topics,less_queries,instant_topics",
        "a@example.org,mon,Weekly,full,yes,no,reasoning surveys,reasoning,robot arm,reasoning",
    )

    assert isinstance(entry, Entry)
    assert entry.preferences == Preferences(
        hour=6, weekdays=1, cadence=Cadence.WEEKLY, abstracts=Abstracts.FULL, plain_text=True, trending=False
    )
    assert [(wish.label, wish.weight, wish.instant) for wish in entry.wishes] == [
        ("Reasoning", Weight.MORE, True),
        ("Surveys", Weight.NORMAL, False),
        ("robot arm", Weight.LESS, False),
    ]


@pytest.mark.parametrize(
    ("header", "cell", "said"),
    [
        ("cadence", "hourly", "“hourly” is not known: write daily or weekly"),
        ("cadence", "weekly", "a weekly mail comes on one weekday"),
        ("plain_text", "perhaps", "plain_text takes yes or no"),
    ],
)
def test_what_is_wrong_with_a_preference_is_said(header: str, cell: str, said: str) -> None:
    with pytest.raises(RowProblem, match=said):
        _row(f"email,{header}", f"a@example.org,{cell}")


def test_a_short_row_takes_the_defaults() -> None:
    entry = _row("email,topics,hour", "a@example.org")

    assert isinstance(entry, Entry)
    assert entry.preferences.hour == 6
    assert entry.wishes == ()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (",reasoning,7", "has no address"),
        ("nobody@@example.org,reasoning,7", "cannot receive mail"),
        ("a@example.org,reasonning,7", "did you mean reasoning?"),
        ("a@example.org,reasoning,25", "25 is not an hour"),
        ("a@example.org,reasoning,soon", "is not a number"),
        ("a@example.org,reasoning,7,,,", "has 6 cells where the header has 5"),
        ("a@example.org,reasoning,7,foo AND", "cannot be understood"),
        ("a@example.org,reasoning,7,,12 Monkeys", "is not a language"),
    ],
)
def test_what_is_wrong_with_a_row_is_said(row: str, said: str) -> None:
    with pytest.raises(RowProblem, match=said.replace("?", r"\?")):
        _row("email,topics,hour,queries,language", row)


def test_a_column_of_any_name_can_be_mapped() -> None:
    entry = _row("Who,When", "a@example.org,9", {"Who": "email", "When": "hour"})

    assert isinstance(entry, Entry)
    assert (entry.address.email, entry.preferences.hour) == ("a@example.org", 9)


@pytest.mark.parametrize(
    ("header", "mapping", "said"),
    [
        ("name,city", {}, "no column holds addresses"),
        ("Who,city", {"Woh": "email"}, "did you mean Who"),
        ("Who,city", {"Who": "mail"}, "choose one of email"),
    ],
)
def test_a_header_that_does_not_serve_is_refused(header: str, mapping: dict[str, str], said: str) -> None:
    with pytest.raises(ColumnsError, match=said):
        columns.layout(header.split(","), mapping)


LISTMONK = "uuid,email,name,attributes,status,created_at,updated_at"


@pytest.mark.parametrize(("status", "kind"), [("enabled", Entry), ("blocklisted", Blocked)])
def test_a_listmonk_export_is_told_and_its_blocklist_kept(status: str, kind: type) -> None:
    assert columns.layout(LISTMONK.split(",")).shape is Shape.LISTMONK

    assert isinstance(_row(LISTMONK, f"0-1,a@example.org,A,{{}},{status},2026-01-01,2026-01-01"), kind)


def test_who_is_disabled_in_listmonk_is_left_out() -> None:
    with pytest.raises(RowProblem, match="“disabled” in its list"):
        _row(LISTMONK, "0-1,a@example.org,A,{},disabled,2026-01-01,2026-01-01")


def test_a_mailchimp_export_brings_its_evidence_of_consent() -> None:
    header = "Email Address,First Name,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,TIMEZONE,LEID"
    row = "a@example.org,A,2024-05-01 10:00:00,192.0.2.1,2024-05-01 10:05:00,192.0.2.1,Europe/Paris,1"

    entry = _row(header, row)

    assert columns.layout(header.split(",")).shape is Shape.MAILCHIMP
    assert isinstance(entry, Entry)
    assert entry.evidence.startswith("OPTIN_TIME 2024-05-01 10:00:00; OPTIN_IP 192.0.2.1; CONFIRM_TIME")
    assert entry.preferences.timezone == "Europe/Paris"


def test_who_left_or_bounced_at_mailchimp_does_not_come_back() -> None:
    header = "Email Address,LEID,UNSUB_TIME,CLEAN_TIME"

    with pytest.raises(RowProblem, match="has unsubscribed"):
        _row(header, "a@example.org,1,2024-05-01 10:00:00,")
    assert isinstance(_row(header, "a@example.org,1,,2024-05-01 10:00:00"), Blocked)


def test_every_column_can_be_written_in_a_header() -> None:
    layout = columns.layout([column.value for column in Column])

    assert layout.at == {column: place for place, column in enumerate(Column)}


def test_weekdays_go_both_ways() -> None:
    for mask in range(1, 128):
        assert columns.weekday_mask(columns.weekday_names(mask)) == mask
