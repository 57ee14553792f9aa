"""One reading of an address, quick or slow."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given
from hypothesis import strategies as st

from service.subscribers import addresses
from service.subscribers.addresses import AddressError

_LOCAL = st.text(st.sampled_from("aZ9.+-_'\\ \"@é%"), min_size=1, max_size=70)
_DOMAIN = st.sampled_from(
    ["example.org", "Example.ORG", "sub.example.co.uk", "exa_mple.org", "-a.org", "example", "xn--bcher-kva.example",
     "bücher.example", "a.test", "a.invalid", "1.2.3.4", "[1.2.3.4]", "x." * 130 + "org", "a..org", "a.localdomain"]
)  # fmt: skip


@given(_LOCAL, _DOMAIN)
def test_the_quick_reading_of_a_plain_address_is_the_validators(local: str, domain: str) -> None:
    written = f"{local}@{domain}".strip()
    try:
        valid = validate_email(written, check_deliverability=False, strict=True, test_environment=True)
    except EmailNotValidError:
        with pytest.raises(AddressError):
            addresses.parse(written)
    else:
        found = addresses.parse(written)
        assert (found.email, found.domain) == (valid.normalized, valid.ascii_domain.lower())
        assert found.key == f"{valid.local_part}@{valid.ascii_domain.lower()}".casefold()
