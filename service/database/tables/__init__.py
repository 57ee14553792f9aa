"""The tables. Their names are the vocabulary's; every other room reads and writes through these definitions.

Columns of state hold the text of a ``StrEnum`` with a CHECK.
"""

from service.database.tables.access import AccessToken, FeedKey
from service.database.tables.base import Base
from service.database.tables.delivery import (
    CarriedOver,
    Delivery,
    DeliveryKind,
    DeliveryState,
    Digest,
    DigestPause,
    Letter,
    SendingPause,
)
from service.database.tables.fetching import FetchedBody, FetchHost
from service.database.tables.matching import Match, Query, Topic
from service.database.tables.operators import AuditEvent, Operator, OperatorRole, OperatorSession
from service.database.tables.papers import (
    AskedAgain,
    Coverage,
    CoverageState,
    Edition,
    IdentityMeans,
    Ingest,
    IngestProblem,
    Paper,
    PaperAlias,
    PaperIdentifier,
    PaperStamp,
    PaperVersion,
    Sighting,
)
from service.database.tables.returns import ReturnEvent, ReturnKind
from service.database.tables.subscribers import (
    Abstracts,
    AddressChange,
    Cadence,
    ConsentEvent,
    Feedback,
    Interest,
    Mark,
    Reader,
    ReaderImport,
    ReaderState,
    Suppression,
    SuppressionReason,
    UsedLink,
    Weight,
)
from service.database.tables.work import DayFigures, TaskRun

__all__ = [
    "Abstracts",
    "AccessToken",
    "AddressChange",
    "AskedAgain",
    "AuditEvent",
    "Base",
    "Cadence",
    "CarriedOver",
    "ConsentEvent",
    "Coverage",
    "CoverageState",
    "DayFigures",
    "Delivery",
    "DeliveryKind",
    "DeliveryState",
    "Digest",
    "DigestPause",
    "Edition",
    "FeedKey",
    "Feedback",
    "FetchHost",
    "FetchedBody",
    "IdentityMeans",
    "Ingest",
    "IngestProblem",
    "Interest",
    "Letter",
    "Mark",
    "Match",
    "Operator",
    "OperatorRole",
    "OperatorSession",
    "Paper",
    "PaperAlias",
    "PaperIdentifier",
    "PaperStamp",
    "PaperVersion",
    "Query",
    "Reader",
    "ReaderImport",
    "ReaderState",
    "ReturnEvent",
    "ReturnKind",
    "SendingPause",
    "Sighting",
    "Suppression",
    "SuppressionReason",
    "TaskRun",
    "Topic",
    "UsedLink",
    "Weight",
]
