"""Signed return addresses: read back exactly, refused when altered, and silent about the reader."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from service.settings import Settings
from service.subscribers.return_addresses import AddressPurpose, ForgedAddress, ReturnAddresses, SignedAddress


def of(secret: str = "x" * 40, domain: str = "returns.papers.example") -> ReturnAddresses:
    return ReturnAddresses(Settings(home=Path("/nowhere"), secret=SecretStr(secret), return_domain=domain))


OURS = of()


@given(st.integers(0, 2**48 - 1))
def test_an_address_is_read_back_in_any_case_and_at_any_domain(number: int) -> None:
    bounce, unsubscribe = OURS.bounce(number), OURS.unsubscribe(number)
    assert unsubscribe is not None
    assert OURS.read(bounce) == SignedAddress(AddressPurpose.BOUNCE, number)
    assert OURS.read(unsubscribe.upper()) == SignedAddress(AddressPurpose.UNSUBSCRIBE, number)
    assert OURS.read(bounce.replace("returns.papers.example", "localhost")).id == number
    local, _, domain = bounce.partition("@")
    assert domain == "returns.papers.example"
    assert len(local) <= 64  # RFC 5321, 4.5.3.1.1
    assert set(local) <= set("abcdefghijklmnopqrstuvwxyz0123456789+")


@given(st.integers(0, 2**48 - 1), st.integers(2, 25), st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_one_letter_altered_and_it_is_forged(number: int, place: int, letter: str) -> None:
    address = OURS.bounce(number)
    altered = address[:place] + letter + address[place + 1 :]
    if altered == address:
        return
    with pytest.raises(ForgedAddress):
        OURS.read(altered)


def test_a_token_counts_for_one_purpose_and_one_secret_only() -> None:
    address = OURS.bounce(7)
    with pytest.raises(ForgedAddress):
        OURS.read("u" + address[1:])
    with pytest.raises(ForgedAddress):
        of("y" * 40).read(address)


@given(st.text())
def test_whatever_else_is_forged(text: str) -> None:
    with pytest.raises(ForgedAddress):
        OURS.read(text)
    with pytest.raises(ForgedAddress):
        OURS.read(f"b+{text}@returns.papers.example")


def test_without_a_return_domain_bounces_go_to_the_sender() -> None:
    none = of(domain="")
    assert none.bounce(7) == "paperround@localhost"
    assert none.unsubscribe(7) is None
    assert not none.ours("b@localhost")
