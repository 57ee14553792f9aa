"""`paperround`: a thin edge over the rooms. Bad input: one line on standard error and exit status 2."""

from __future__ import annotations

from service.cli.app import main

__all__ = ["main"]
