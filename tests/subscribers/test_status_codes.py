from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.database.tables import ReturnKind
from service.subscribers import status_codes

HARD, SOFT, REFUSAL = ReturnKind.HARD_BOUNCE, ReturnKind.SOFT_BOUNCE, ReturnKind.REFUSAL


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("5.1.1", HARD),
        ("5.1.2", HARD),
        ("5.1.10", HARD),
        ("5.2.1", HARD),
        ("5.2.2", SOFT),
        ("5.4.1", SOFT),
        ("5.0.0", SOFT),
        ("4.1.1", SOFT),
        ("4.7.1", SOFT),
        ("5.1.8", REFUSAL),
        ("5.2.3", REFUSAL),
        ("5.3.4", REFUSAL),
        ("5.6.1", REFUSAL),
        ("5.7.1", REFUSAL),
        ("5.7.515", REFUSAL),
        ("2.0.0", None),
        ("nonsense", None),
        ("6.1.1", None),
    ],
)
def test_what_a_code_says_of_an_address(code: str, kind: ReturnKind | None) -> None:
    assert status_codes.kind_of(code) == kind


@pytest.mark.parametrize(
    ("status", "diagnostic", "code"),
    [
        ("5.1.1", "smtp; 550 5.7.1 no", "5.1.1"),
        ("5.0.0", "smtp; 550 5.1.1 <a@example.org> unknown", "5.1.1"),
        ("5.0.0 (undefined status)", "smtp; 550 unknown user", "5.0.0"),
        ("", "Sorry, no mailbox here by that name. (#5.1.1)", "5.1.1"),
        ("", "550-5.1.1 The email account", "5.1.1"),
        ("", "554 no", "5.0.0"),
        ("", "connected to 192.0.2.5.1.1 from 10.5.1.1", None),
        ("", "at 550100 o'clock", None),
        ("5.0.0", "", "5.0.0"),
    ],
)
def test_the_most_telling_code_is_found(status: str, diagnostic: str, code: str | None) -> None:
    assert status_codes.most_telling(status, diagnostic) == code


@given(st.text(), st.text())
def test_any_text_yields_a_code_or_none(status: str, diagnostic: str) -> None:
    code = status_codes.most_telling(status, diagnostic)
    assert code is None or code[0] in "245"
