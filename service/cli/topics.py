"""The catalogue, for the operator."""

from __future__ import annotations
