"""Every setting, with its unit and default. Environment variables carry the prefix ``PAPERROUND_``.

Two modes. *Embedded* (no ``PAPERROUND_DATABASE_URL``): everything lives in one data folder on this machine, and
secrets are made on first use. *Production*: servers are named by URLs, and nothing secret has a default.
"""

from __future__ import annotations

import os
import secrets
from email.utils import parseaddr
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SMALLEST_SECRET = 32
"""Characters; ``openssl rand -hex 32`` gives 64."""


class SettingsError(Exception):
    """A setting is missing or malformed. The message is one line: the setting and the remedy."""


class Settings(BaseSettings):
    """The settings of one process, read once from the environment. Build with :func:`load`."""

    model_config = SettingsConfigDict(env_prefix="PAPERROUND_", extra="ignore", frozen=True)

    # Where things are
    home: Path = Field(default_factory=lambda: platformdirs.user_data_path("paperround"))
    """The data folder of this machine: embedded database and broker, mailbox, journals, run files."""
    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    site_url: str = ""
    """Public origin of the web pages, no trailing slash. Empty: http://localhost:<port>."""
    database_url: str | None = None
    """``postgresql://user:password@host/name``, PostgreSQL 15 or newer. Unset: the embedded database."""
    broker_url: str | None = None
    """``redis://host:6379/0``. Unset: Celery's filesystem transport in the data folder."""
    smtp_url: str | None = None
    """``smtp[s]://user:password@host:port`` of the relay, or of several with white space between them; for their
    options see ``delivery.relay.configured``. Unset: the local mailbox (embedded mode only)."""
    secret: SecretStr | None = None
    """Signs every link. At least 32 characters. Unset: made and kept in the data folder (embedded mode only)."""

    # Who we are
    sender: str = Field(
        default="Paperround <paperround@localhost>",
        validation_alias=AliasChoices("PAPERROUND_FROM", "sender"),
    )
    """The From of every mail, ``Name <address>``."""
    postal_address: str = ""
    """Shown in the footer of every mail; most countries ask for one."""
    contact: str = ""
    """Mail address or URL put into the User-Agent of outgoing fetches. Empty: the address of ``sender``."""

    # Sources
    huggingface_url: str = "https://huggingface.co"
    arxiv_rss_url: str = "https://rss.arxiv.org"
    arxiv_categories: str = (
        "cs.AI cs.CL cs.CR cs.CV cs.DB cs.DC cs.HC cs.IR cs.LG cs.MA cs.NE cs.RO cs.SD cs.SE eess.AS quant-ph stat.ML"
    )
    """Space-separated arXiv categories or archives to read each day."""
    allow_private_sources: bool = False
    """Let fetches reach private and loopback addresses: for tests and for sources inside your own network."""
    ingest_minutes: int = Field(default=60, ge=1, le=1440)
    """Between two readings of the sources by the scheduler."""
    look_back_days: int = Field(default=3, ge=1, le=30)
    """Days of Hugging Face listings read again at each ingest, to fill gaps."""
    fetch_timeout_seconds: float = Field(default=20.0, gt=0)

    # Rounds
    first_digest_days: int = Field(default=3, ge=0, le=30)
    """A new reader's first digest looks back over the editions of this many days."""
    paper_limit: int = Field(default=12, ge=1, le=50)
    """Papers in a digest unless the reader chose otherwise."""
    plan_chunk: int = Field(default=20_000, ge=1)
    """Readers planned in one transaction."""

    # Delivery
    send_connections: int = Field(default=8, ge=1, le=256)
    send_batch: int = Field(default=500, ge=1)
    """Deliveries claimed by one UPDATE."""
    lease_seconds: int = Field(default=300, ge=10)
    """How long a claim holds before a sweep may take the row back."""
    attempts_limit: int = Field(default=12, ge=1)
    """Tries at one delivery before it fails for good."""
    deadline_hours: float = Field(default=20.0, gt=0)
    """A digest not accepted within this time after its slot is given up; its successor is due by then."""
    smtp_timeout_seconds: float = Field(default=60.0, gt=0)
    uncertain: Literal["repeat", "drop"] = "repeat"
    """What to do with a message whose final reply was lost (RFC 1047): send it again, same Message-ID, or not."""

    # Relays and their limits
    domain_rates: str = ""
    """At most so many messages to a recipient's domain: ``gmail.com=100/minute *=20/second``, ``*`` for each other."""

    # DKIM signatures
    dkim_key_file: Path | None = None
    """A private RSA key in PEM; ``paperround dkim`` makes one. Unset, with ``dkim_key``: the relay may sign."""
    dkim_key: SecretStr | None = None
    """The key itself, for installations that keep secrets in the environment."""
    dkim_selector: str = "paperround"
    """The key is published at ``<selector>._domainkey.<domain>``."""
    dkim_domain: str = ""
    """Empty: the domain of ``sender``; else one above or below it."""
    dkim_second_key_file: Path | None = None
    """A second signature, by an Ed25519 key (RFC 8463), beside the first."""
    dkim_second_selector: str = "paperround-ed25519"

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("site_url", "huggingface_url", "arxiv_rss_url")
    @classmethod
    def _origin(cls, value: str) -> str:
        if value and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("must begin with http:// or https://")
        return value.rstrip("/")

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: str | None) -> str | None:
        if value and urlsplit(value).scheme.split("+")[0] not in ("postgresql", "postgres"):
            raise ValueError("must begin with postgresql://; no other database is supported")
        return value or None

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: str | None) -> str | None:
        return value or None

    @field_validator("smtp_url")
    @classmethod
    def _smtp(cls, value: str | None) -> str | None:
        for url in (value or "").split():
            if urlsplit(url).scheme not in ("smtp", "smtps") or not urlsplit(url).hostname:
                raise ValueError("must look like smtp://user:password@host:587 or smtps://host")
        return (value or "").strip() or None

    @field_validator("sender")
    @classmethod
    def _mailbox(cls, value: str) -> str:
        if "@" not in parseaddr(value)[1] or "\n" in value or "\r" in value:
            raise ValueError("must look like: Name <address@domain>")
        return value

    @property
    def embedded(self) -> bool:
        """Whether this machine's own database is used; only then do secrets and a mailbox appear by themselves."""
        return self.database_url is None

    @property
    def origin(self) -> str:
        """Where links point, no trailing slash."""
        return self.site_url or f"http://localhost:{self.port}"

    @property
    def sender_address(self) -> str:
        return _mailbox(self.sender)[1]

    @property
    def sender_name(self) -> str:
        return _mailbox(self.sender)[0] or "Paperround"

    @property
    def mail_domain(self) -> str:
        """Right-hand side of every Message-ID and List-Id."""
        return self.sender_address.rpartition("@")[2]

    @cached_property
    def signing_key(self) -> str:
        """The secret behind every link.

        Raises :class:`SettingsError` in production when none is set or it is too short to be one.
        """
        if self.secret is not None:
            value = self.secret.get_secret_value()
            if len(value) < SMALLEST_SECRET:
                raise SettingsError(
                    f"PAPERROUND_SECRET is too short: give at least {SMALLEST_SECRET} characters,"
                    " for example the output of `openssl rand -hex 32`"
                )
            return value
        if not self.embedded:
            raise SettingsError(
                "PAPERROUND_SECRET is missing: with PAPERROUND_DATABASE_URL set it must be given,"
                " for example the output of `openssl rand -hex 32`"
            )
        return _kept_secret(self.home / "secret")

    def check_production(self) -> None:
        """Refuse to start in production with a setting missing that only embedded mode can do without."""
        _ = self.signing_key
        if not self.embedded and self.smtp_url is None:
            raise SettingsError(
                "PAPERROUND_SMTP_URL is missing: name the relay, for example smtp://user:password@host:587"
            )


def load() -> Settings:
    """Read the environment. Raises :class:`SettingsError` with one line naming the setting and the remedy."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]).upper().removeprefix("PAPERROUND_")
        name = "FROM" if name == "SENDER" else name
        message = first["msg"].removeprefix("Value error, ")
        # The value itself may hold a password, so it is not repeated.
        raise SettingsError(f"PAPERROUND_{name} is not usable: {message}") from None


@lru_cache(maxsize=16)
def _mailbox(sender: str) -> tuple[str, str]:
    # Asked for with every mail; reading an address takes longer than the rest of its header.
    return parseaddr(sender)


def _kept_secret(path: Path) -> str:
    """The secret in ``path``, made on first use; two processes at once agree on one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        draft = path.with_name(f".secret-{os.getpid()}-{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(32))
        try:
            os.link(draft, path)  # never overwrites: whoever is first wins
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_text().strip()
