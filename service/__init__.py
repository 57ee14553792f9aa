"""Paperround: new research papers on each reader's own topics, in the inbox, exactly once."""

__version__ = "0.1.0"
