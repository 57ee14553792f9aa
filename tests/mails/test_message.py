from __future__ import annotations

from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.mails import message, quoted
from service.mails.message import HeaderError, Headers, Sender, assembled, subject

SENDER = Sender("Paperround", "digest@papers.example", "digest.papers.example", "abcdef012345")


def built(**fields: str | None) -> EmailMessage:
    values = {
        "recipient": "ada@example.org",
        "subject": "A subject",
        "message_id": "abc@papers.example",
        "stream": "digest",
        "one_click_url": "https://papers.example/unsubscribe/x",
    }
    headers = Headers(date=datetime(2026, 11, 24, 7, tzinfo=UTC), **(values | fields))  # type: ignore[arg-type]
    raw = assembled(SENDER, headers, [quoted.encoded("text\n")], [quoted.encoded("<p>html</p>")])
    assert b"\r\n" in raw
    assert b"\n" not in raw.replace(b"\r\n", b"")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    parsed = message_from_bytes(raw, policy=policy.default)
    assert [part.defects for part in parsed.walk()] == [[], [], []]
    return parsed


def test_a_message_has_every_header_a_list_mail_owes() -> None:
    mail = built()
    assert mail["From"] == "Paperround <digest@papers.example>"
    assert mail["Message-ID"] == "<abc@papers.example>"
    assert mail["List-Id"] == "<digest.papers.example>"
    assert mail["List-Unsubscribe"] == "<https://papers.example/unsubscribe/x>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime == datetime(2026, 11, 24, 7, tzinfo=UTC)
    fields = mail["Feedback-ID"].split(":")
    assert len(fields) == len(set(fields)) == 4
    assert 5 <= len(fields[3]) <= 15
    assert [part.get_content_type() for part in mail.iter_parts()] == ["text/plain", "text/html"]


def test_unsubscribing_by_mail_is_offered_behind_one_click() -> None:
    mail = built(unsubscribe_address="u+token@returns.papers.example")
    assert mail["List-Unsubscribe"] == (
        "<https://papers.example/unsubscribe/x>, <mailto:u+token@returns.papers.example?subject=unsubscribe>"
    )
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert built(one_click_url=None, unsubscribe_address="u+token@x.example")["List-Unsubscribe"] is None


def test_a_mail_that_is_not_of_the_list_offers_no_unsubscribe() -> None:
    assert built(one_click_url=None)["List-Unsubscribe"] is None


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), min_size=1, max_size=120))
def test_any_subject_arrives_as_written(text: str) -> None:
    assert " ".join(str(built(subject=text)["Subject"]).split()) == " ".join(text.split())


@pytest.mark.parametrize("field", ["recipient", "subject", "message_id", "one_click_url", "unsubscribe_address"])
@pytest.mark.parametrize("break_", ["\r", "\n", "\r\n", "\x00"])
def test_a_line_break_in_a_header_is_refused(field: str, break_: str) -> None:
    with pytest.raises(HeaderError):
        built(**{field: f"x{break_}Bcc: victim@example.org"})


@pytest.mark.parametrize("name", ["Zeitung, Wissenschaft", 'The "Daily"', "論文便", "a.b", ""])
def test_the_senders_name_is_quoted_or_encoded_as_it_needs(name: str) -> None:
    parsed = message_from_bytes(f"From: {message.mailbox(name, 'a@b.example')}\r\n\r\n".encode(), policy=policy.default)
    assert parsed["From"].addresses[0].display_name == name
    assert parsed["From"].addresses[0].addr_spec == "a@b.example"


@pytest.mark.parametrize(
    ("labels", "titles", "expected"),
    [
        (["Speculative decoding", "RLHF", "RLHF"], ["t"] * 8, "Speculative decoding, RLHF and 6 more"),
        (["RLHF", "RLHF"], ["One", "Two"], "RLHF and 1 more"),
        (["RLHF", "Video"], ["One", "Two"], "RLHF and Video"),
        (["RLHF"], ["The Only Paper"], "The Only Paper"),
        ([], ["One", "Two", "Three"], "One and 2 more"),
    ],
)
def test_the_subject_says_what_is_inside(labels: list[str], titles: list[str], expected: str) -> None:
    assert subject(labels, titles) == expected


@given(st.lists(st.text(min_size=1, max_size=200), max_size=5), st.lists(st.text(min_size=1, max_size=300), min_size=1))
def test_a_subject_stays_short(labels: list[str], titles: list[str]) -> None:
    assert len(subject(labels, titles)) <= 80
