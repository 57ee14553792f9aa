"""Every setting, with its unit and default. Environment variables carry the prefix ``PAPERROUND_``.

Two modes. *Embedded* (no ``PAPERROUND_DATABASE_URL``): everything lives in one data folder on this machine, and
secrets are made on first use. *Production*: servers are named by URLs, and nothing secret has a default.
"""

from __future__ import annotations

import ipaddress
import re
from email.utils import parseaddr
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import AliasChoices, Field, PrivateAttr, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from service import secret_files

SMALLEST_SECRET = 32
"""Characters; ``openssl rand -hex 32`` gives 64."""
SMALLEST_TOKEN = 16
"""Characters."""
SHORTEST_KEPT = 30
"""Days."""
SHORTEST_AUDIT = 90
"""Days."""


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
    prepared_statements: bool = True
    """False: none are prepared, for a pooler in transaction mode that does not know them (PgBouncer before 1.21)."""
    broker_url: str | None = None
    """``redis://host:6379/0``. Unset: Celery's filesystem transport in the data folder."""
    smtp_url: str | None = None
    """``smtp[s]://user:password@host:port`` of the relay, or of several with white space between them; for their
    options see ``delivery.relay.configured``. Unset: the local mailbox (embedded mode only)."""
    secret: SecretStr | None = None
    """Signs every link. At least 32 characters. Unset: made and kept in the data folder (embedded mode only)."""
    old_secrets: SecretStr | None = None
    """Secrets that verify and open but never sign, oldest first, with white space between them: after a change of
    ``secret``, the ones before (docs/operating.md)."""

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
    """Let the addresses of sources be private or loopback: for tests and for sources inside your own network. Where
    they redirect to must be public, or the same host, all the same."""
    ingest_minutes: int = Field(default=60, ge=1, le=1440)
    """Between two readings of the sources by the scheduler."""
    look_back_days: int = Field(default=3, ge=1, le=30)
    """Days before today that are asked for again until they are complete."""
    fetch_timeout_seconds: float = Field(default=20.0, gt=0)
    """For a connection and between two parts of an answer; a whole answer may take six times as long."""
    fetch_pace_seconds: float = Field(default=0.5, ge=0, le=60)
    """Least time between two requests to one host; arXiv's hosts always have 3 seconds and one connection."""
    fetch_retry_seconds: float = Field(default=2.0, ge=0, le=20)
    """Before the second of three tries, where the host asks for nothing else; doubled before the third."""
    sources: str = "huggingface arxiv"
    """Space-separated names of the sources to read, some with a parameter: docs/sources.md."""
    arxiv_oai_url: str = "https://oaipmh.arxiv.org/oai"
    arxiv_api_url: str = "https://export.arxiv.org/api/query"
    biorxiv_url: str = "https://api.biorxiv.org"
    """Of bioRxiv and medRxiv."""

    # Rounds
    first_digest_days: int = Field(default=3, ge=0, le=30)
    """A new reader's first digest looks back over the editions of this many days."""
    paper_limit: int = Field(default=12, ge=1, le=50)
    """Papers in a digest unless the reader chose otherwise."""
    plan_chunk: int = Field(default=20_000, ge=1, le=1_000_000)
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
    uncertain: Literal["repeat", "drop", "ask"] = "repeat"
    """What to do with a message whose final reply was lost (RFC 1047): send it again, same Message-ID, or not; "ask":
    it waits for an operator's word on the dashboard."""

    # What comes back (docs/returns.md)
    return_domain: str = ""
    """Domain whose mail comes to us: bounces, mailto: unsubscribes, subscribe@. Empty: bounces go to ``sender``."""
    inbound_host: str = "127.0.0.1"
    inbound_port: int = Field(default=2525, ge=1, le=65535)
    inbound_protocol: Literal["smtp", "lmtp"] = "smtp"
    inbound_tls_certificate: Path | None = None
    """PEM file, the chain and its key: then STARTTLS is offered to those who send to us."""
    inbound_largest_bytes: int = Field(default=4 * 1024 * 1024, ge=65_536)
    """Of one mail that comes back. Larger ones are refused, in a mailbox put aside."""
    imap_url: str | None = None
    """``imaps://user:password@host[:993]/FOLDER`` where returns arrive; ``imap://`` on this machine only."""
    imap_minutes: int = Field(default=5, ge=1, le=1440)
    """Between two readings of that mailbox by the scheduler."""
    soft_bounce_limit: int = Field(default=4, ge=1)
    """Soft bounces, none delivered between, after which an address is suppressed,"""
    soft_bounce_days: int = Field(default=3, ge=1)
    """if they fell on at least so many different days."""
    subscribe_mails_per_hour: int = Field(default=60, ge=0)
    """Sign-ups by mail taken in an hour, all senders together; 0: none are taken."""
    ses_topic_arn: str = ""
    """The SNS topic of an SES account; its notifications are taken at /hooks/ses."""
    postmark_hook_login: SecretStr | None = None
    """``user:password`` with which Postmark calls /hooks/postmark; in this and the next two, several with white space
    between them are all taken."""
    sendgrid_hook_key: str = ""
    """SendGrid's verification key (public, base64) of the signed event webhook at /hooks/sendgrid."""
    mailgun_hook_key: SecretStr | None = None
    """Mailgun's HTTP webhook signing key, for /hooks/mailgun."""
    hook_window_hours: float = Field(default=24.0, gt=0)
    """A signed call older than this is refused. Providers try again for up to a day."""
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
    # The site and its limits
    web_workers: int = Field(default=1, ge=1, le=64)
    """Processes that serve the site; each holds its own search index. Limits are shared between them only in Redis."""
    page_seconds: float = Field(default=1.0, ge=0, le=60)
    """How long a rendered page may be served without asking whether papers have changed."""
    page_cache_mib: int = Field(default=64, ge=0)
    """Memory for rendered pages, in each web process."""
    trusted_proxies: str = ""
    """Space-separated addresses and networks whose X-Forwarded-For is believed. Empty: nobody's."""
    signups_per_address_hour: int = Field(default=10, ge=0)
    """Sign-ups from one network address. 0 in this and the next two: no limit."""
    signups_per_network_hour: int = Field(default=40, ge=0)
    """From one /24 (IPv4) or /64 (IPv6)."""
    signups_per_domain_hour: int = Field(default=500, ge=0)
    """To one mail domain."""
    form_seconds: float = Field(default=2.0, ge=0, le=60)
    """A sign-up form sent sooner after it was shown is asked for once more. 0: not looked at."""
    block_disposable: bool = False
    """Refuse addresses at known throw-away domains; needs the extra ``paperround[disposable]``."""
    api_requests_per_minute: int = Field(default=120, ge=1)
    """Of one network address to the HTTP API."""

    # The operators' door, as docs/dashboard.md tells
    operator_idle_minutes: int = Field(default=60, ge=5, le=1440)
    """An operator's session ends when nothing was asked for so long,"""
    operator_session_hours: float = Field(default=12.0, gt=0, le=168)
    """and so long after its beginning in any case."""

    # Watching (docs/observability.md tells how)
    metrics_token: SecretStr | None = None
    """Bearer token with which /metrics is read; at least 16 characters; several with white space between them are all
    taken. Unset: nobody has one."""
    metrics_networks: str = ""
    """Space-separated addresses and networks that may read /metrics without a token, asking directly."""

    # How long things are kept (service/retention.py)
    keep_deliveries_days: int = Field(default=400, ge=0)
    """Settled deliveries, what the relay answered, and their digests: at least so many days, and a month more at most,
    since they are dropped with their month. 0 in this and the next: for ever; else 30 or more
    here, since bounces come late."""
    keep_visits_days: int = Field(default=90, ge=0)
    """From where exactly a reader agreed: address and browser. Later only the network, /24 or /48, is known."""
    keep_audit_days: int = Field(default=730, ge=0)
    """What operators did. 0: for ever; else 90 or more, which the database itself insists on."""
    keep_task_runs_days: int = Field(default=2, ge=1)
    """What the workers did, and how long it took them."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator("site_url", "huggingface_url", "arxiv_rss_url", "arxiv_oai_url", "arxiv_api_url", "biorxiv_url")
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

    @field_validator("return_domain")
    @classmethod
    def _domain(cls, value: str) -> str:
        if value and not re.fullmatch(
            r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", value.lower()
        ):
            raise ValueError("must be a domain such as returns.papers.example (A-labels, no @)")
        return value.lower()

    @field_validator("imap_url")
    @classmethod
    def _imap(cls, value: str | None) -> str | None:
        if not value:
            return None
        url = urlsplit(value)
        if url.scheme not in ("imap", "imaps") or not url.hostname or not url.username or not url.password:
            raise ValueError("must look like imaps://user:password@host/INBOX")
        if url.scheme == "imap" and url.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("imap:// would send the password in clear: use imaps://")
        return value

    @field_validator("postmark_hook_login")
    @classmethod
    def _login(cls, value: SecretStr | None) -> SecretStr | None:
        logins = value.get_secret_value().split() if value is not None else []
        if any(":" not in login for login in logins):
            raise ValueError("must look like user:password, without white space; several with white space between them")
        return value if logins else None

    @field_validator("metrics_token")
    @classmethod
    def _token(cls, value: SecretStr | None) -> SecretStr | None:
        tokens = value.get_secret_value().split() if value is not None else []
        if any(len(token) < SMALLEST_TOKEN for token in tokens):
            raise ValueError(f"must have at least {SMALLEST_TOKEN} characters, for example `openssl rand -hex 16`")
        return value if tokens else None

    @field_validator("old_secrets")
    @classmethod
    def _secrets(cls, value: SecretStr | None) -> SecretStr | None:
        listed = value.get_secret_value().split() if value is not None else []
        if any(len(secret) < SMALLEST_SECRET for secret in listed):
            raise ValueError(f"each must have at least {SMALLEST_SECRET} characters, with white space between them")
        return value if listed else None

    @field_validator("keep_deliveries_days")
    @classmethod
    def _long_enough(cls, value: int) -> int:
        if 0 < value < SHORTEST_KEPT:
            raise ValueError(f"must be at least {SHORTEST_KEPT} days, or 0 for ever: bounces come late")
        return value

    @field_validator("keep_audit_days")
    @classmethod
    def _long_enough_to_be_asked_about(cls, value: int) -> int:
        if 0 < value < SHORTEST_AUDIT:
            raise ValueError(f"must be at least {SHORTEST_AUDIT} days, or 0 for ever: acts are asked about later")
        return value

    @field_validator("trusted_proxies", "metrics_networks")
    @classmethod
    def _networks(cls, value: str) -> str:
        for each in value.split():
            try:
                ipaddress.ip_network(each)
            except ValueError:
                raise ValueError("must be addresses or networks with spaces between, like 10.0.0.1 fd00::/64") from None
        return value

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
        return secret_files.current(self.home)

    @property
    def secret_is_a_file(self) -> bool:
        """Whether the secret is kept in the data folder, not given by the environment."""
        return self.embedded and self.secret is None

    @cached_property
    def verifying_keys(self) -> tuple[str, ...]:
        """Every secret whose signatures count, oldest first; the last is :attr:`signing_key`.

        Raises :class:`SettingsError` as that does.
        """
        listed = secret_files.older(self.home) if self.secret_is_a_file else []
        if self.old_secrets is not None:
            listed += self.old_secrets.get_secret_value().split()
        return (*(each for each in dict.fromkeys(listed) if each != self.signing_key), self.signing_key)

    _address_hash_key: bytes | None = PrivateAttr(default=None)

    @property
    def address_hash_key(self) -> bytes | None:
        """What addresses are hashed with, where a database has told it."""
        return self._address_hash_key

    def use_address_hash_key(self, key: bytes) -> None:
        """Told once, when a process opens its database (``readiness``, ``subscribers.hash_key``)."""
        self._address_hash_key = key

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
