"""The tables. Their names are the vocabulary's; every other room reads and writes through these definitions.

Columns of state hold the text of a ``StrEnum`` with a CHECK.
"""

from service.database.tables.access import AccessToken, FeedKey
from service.database.tables.base import Base
from service.database.tables.delivery import Delivery, DeliveryKind, DeliveryState, Digest
from service.database.tables.matching import Match, Query, Topic
from service.database.tables.papers import Edition, Ingest, IngestProblem, Paper, PaperIdentifier, Sighting
from service.database.tables.subscribers import ConsentEvent, Interest, Reader, ReaderState, Suppression

__all__ = [
    "AccessToken",
    "Base",
    "ConsentEvent",
    "Delivery",
    "DeliveryKind",
    "DeliveryState",
    "Digest",
    "Edition",
    "FeedKey",
    "Ingest",
    "IngestProblem",
    "Interest",
    "Match",
    "Paper",
    "PaperIdentifier",
    "Query",
    "Reader",
    "ReaderState",
    "Sighting",
    "Suppression",
    "Topic",
]
