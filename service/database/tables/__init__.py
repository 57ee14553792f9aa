"""The tables. Their names are the vocabulary's; every other room reads and writes through these definitions.

Columns of state hold the text of a ``StrEnum`` with a CHECK.
"""

from service.database.tables.base import Base
from service.database.tables.delivery import CarriedOver, Delivery, DeliveryKind, DeliveryState, Digest, SendingPause
from service.database.tables.matching import Match, Query, Topic
from service.database.tables.papers import Edition, Ingest, IngestProblem, Paper, PaperIdentifier, Sighting
from service.database.tables.subscribers import ConsentEvent, Interest, Reader, ReaderState, Suppression

__all__ = [
    "Base",
    "CarriedOver",
    "ConsentEvent",
    "Delivery",
    "DeliveryKind",
    "DeliveryState",
    "Digest",
    "Edition",
    "Ingest",
    "IngestProblem",
    "Interest",
    "Match",
    "Paper",
    "PaperIdentifier",
    "Query",
    "Reader",
    "ReaderState",
    "SendingPause",
    "Sighting",
    "Suppression",
    "Topic",
]
