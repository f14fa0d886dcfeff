"""Logging: one structured line per decision, JSON for machines or coloured for people.

Set up by the `service.run` of either edge, and by the commands that start a service in their own process.
"""

import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import structlog
from structlog.types import EventDict, Processor


def configure(form: str, level: str) -> None:
    """Send structlog, and the libraries' own logging above warning, to standard error."""
    numeric = logging.getLevelName(level.upper())
    logging.basicConfig(
        level=max(numeric, logging.WARNING), stream=sys.stderr, format="%(levelname)s %(name)s %(message)s"
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *(_for_machines() if form == "json" else _for_people()),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(numeric),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=False,
    )


def _for_machines() -> tuple[Processor, ...]:
    return structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_encoded)


def _for_people() -> tuple[Processor, ...]:
    colours = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    plain = structlog.dev.plain_traceback  # others show local variables, tokens among them
    return structlog.dev.ConsoleRenderer(colors=colours, exception_formatter=plain), _encoded_text


def _encoded(event: EventDict, default: Callable[[Any], Any]) -> bytes:
    """A line of JSON. The scheduler writes one per pod: the standard library's encoder takes three times as long."""
    try:
        return msgspec.json.encode(event, enc_hook=default)
    except UnicodeEncodeError:  # a file name that is not text
        return json.dumps(event, default=default).encode()


def _encoded_text(_: object, __: str, line: Any) -> bytes:
    return str(line).encode(errors="backslashreplace")
