"""How old an event may be: older ones can never be billed, so their sender gets an error at once. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from taximeter_emitter.wire.errors import EventRejected, Reason

from metering.records.service_limits import EVENT_AGE_MAX_MS

HORIZON_KEY: Final = "deduplication_horizon_seconds"
HORIZON_VARIABLE: Final = "TAXIMETER_AGGREGATOR_DEDUPLICATION_HORIZON_SECONDS"
"""The aggregators' setting. The gateway knows it if it is in its own environment, or in the table [aggregator] of its settings file."""


def age_max_ms(environ: Mapping[str, str], document: Mapping[str, Any]) -> int:
    """The age in ms from which on events are refused: Stripe's 35 days or, if the gateway knows a shorter one, the aggregators' horizon.

    Raises ValueError if the setting is not a number.
    """
    table = document.get("aggregator")
    found: Any = environ.get(HORIZON_VARIABLE) or (table.get(HORIZON_KEY) if isinstance(table, dict) else None)
    return EVENT_AGE_MAX_MS if found is None else min(EVENT_AGE_MAX_MS, int(float(found) * 1000))


def check_age(time_ms: int, now_ms: int, max_ms: int) -> None:
    """Raise EventRejected for an event that happened more than `max_ms` before `now_ms`."""
    if time_ms < now_ms - max_ms:
        limit = "Stripe takes no older usage" if max_ms == EVENT_AGE_MAX_MS else "nobody would know whether it was counted before"
        age = f"is {(now_ms - time_ms) // 1000} s old; at most {max_ms // 1000} s are taken, because {limit}"
        raise EventRejected(Reason.PAST_HORIZON, "time", age)
