"""Limits what aiokafka logs on behalf of emitters. Other clients of aiokafka in the program log as ever, and levels and handlers stay alone."""

import logging
from contextvars import ContextVar
from functools import cache
from typing import Final

from taximeter_emitter.clock import SystemClock
from taximeter_emitter.logs.flood_filter import FloodFilter

# A filter on a logger does not see what its children log, so each is named.
LOGGERS: Final = ("aiokafka", "aiokafka.conn", "aiokafka.cluster", "aiokafka.helpers", "aiokafka.producer.producer", "aiokafka.producer.sender")

_IS_OURS: Final[ContextVar[bool]] = ContextVar("taximeter_emitter_client", default=False)


def limit_client_logs() -> None:
    """From now on in this task, and in all tasks that are started from it, aiokafka logs a few lines a minute at most."""
    _add_filters()
    _IS_OURS.set(True)


@cache
def _add_filters() -> None:
    flood_filter = FloodFilter(SystemClock(), lambda _record: _IS_OURS.get())
    for name in LOGGERS:
        logging.getLogger(name).addFilter(flood_filter)
