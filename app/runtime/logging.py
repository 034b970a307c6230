"""Logging of workers: lines on stderr."""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog

NOISY: Final = ("faust", "mode", "aiokafka")  # libraries whose warnings ask for no action


def configure_logging(verbose: bool) -> None:
    """Write warnings to stderr. With `verbose`, write everything from level INFO on."""
    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s", force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(level if verbose else logging.ERROR)
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[structlog.processors.add_log_level, structlog.processors.TimeStamper("iso"), plain],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),  # looked up for each line: tests replace it
    )
