"""Fetching over HTTP with manners and without surprises."""

from service.papers.fetching.fetcher import Fetcher, FetchError
from service.papers.fetching.state import Stored

__all__ = ["FetchError", "Fetcher", "Stored"]
