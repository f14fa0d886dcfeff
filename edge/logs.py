"""Logging: one structured line per decision, JSON for machines or coloured for people.

Set up by the `service.run` of either edge, and by the commands that start a service in their own process.
"""

import logging
import sys

import structlog


def configure(form: str, level: str) -> None:
    """Send structlog, and the libraries' own logging above warning, to standard error."""
    numeric = logging.getLevelName(level.upper())
    logging.basicConfig(
        level=max(numeric, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)  # others show tokens
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info if form == "json" else _as_is,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


def _as_is(_: object, __: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
    return event
