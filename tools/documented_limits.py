"""The limits that a user can meet, in the words of docs/limits.md. The values come from the code."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.wire.batch import ABANDONED_RANGES_MAX, EMITTER_CHARS_MAX
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.limits import (
    BATCH_EVENTS_MAX,
    CLOCK_AHEAD_MAX_MS,
    CUSTOMER_CHARS_MAX,
    DAY_MS,
    DIMENSION_VALUE_CHARS_MAX,
    DIMENSIONS_MAX,
    EVENT_ID_CHARS_MAX,
    EVENT_RECORD_BYTES_MAX,
    FUTURE_TOLERANCE_MS,
    HOUR_MS,
    MINUTE_MS,
    NAME_CHARS_MAX,
    QUANTITY_MAX,
    SOURCE_CHARS_MAX,
    USAGE_FIELDS_MAX,
)

from aggregator.core.sequences import EMITTER_GAPS_MAX, EMITTERS_MAX, GAPS_MAX
from ingest.requests.batch_bodies import BATCHES_PER_REQUEST
from metering.records.ledger_records import BY_CHARS_MAX, REASON_CHARS_MAX
from metering.records.service_limits import (
    BATCH_HEADERS_MAX,
    BATCH_INFLATED_BYTES_MAX,
    BATCH_RECORDS_MAX,
    CATALOGUE_BYTES_MAX,
    CHAIN_RECORD_BYTES_MAX,
    EVENT_AGE_MAX_MS,
    EVENT_METERS_MAX,
    EVENT_VALUE_BYTES_MAX,
    EVENTS_RETENTION_MS,
    METERS_MAX,
    RETRY_SAME_IDENTIFIER_MS,
    VALUE_MAX,
)


@dataclass(frozen=True, slots=True)
class Limit:
    """`what` takes at most `value` `unit`; `beyond` says what happens otherwise."""

    what: str
    value: int
    unit: str
    beyond: str


def _refused(reason: Reason) -> str:
    return f"The event is refused: `{reason}`."


def _set_aside(reason: Reason) -> str:
    return f"Events whose time it set are set aside: `{reason}`."


_UNREADABLE: Final = "The partition stops (`RecordUnreadable`) and no other does. `taximeter repair skip` steps over the batch."


LIMITS: Final[dict[str, Sequence[Limit]]] = {
    "An event": (
        Limit("`id`", EVENT_ID_CHARS_MAX, "characters", _refused(Reason.TOO_LONG)),
        Limit("`source`", SOURCE_CHARS_MAX, "characters", _refused(Reason.TOO_LONG)),
        Limit("`customer`", CUSTOMER_CHARS_MAX, "characters", _refused(Reason.TOO_LONG)),
        Limit("name of a usage field or of a dimension", NAME_CHARS_MAX, "characters", _refused(Reason.TOO_LONG)),
        Limit("value of a dimension", DIMENSION_VALUE_CHARS_MAX, "characters", _refused(Reason.TOO_LONG)),
        Limit("usage fields", USAGE_FIELDS_MAX, "fields", _refused(Reason.TOO_MANY)),
        Limit("dimensions", DIMENSIONS_MAX, "dimensions", _refused(Reason.TOO_MANY)),
        Limit("a quantity", QUANTITY_MAX, "units", _refused(Reason.TOO_LARGE)),
        Limit("`time` ahead of the clock", FUTURE_TOLERANCE_MS // MINUTE_MS, "minutes", _refused(Reason.IN_FUTURE)),
        Limit("clock of the emitter or gateway ahead of Kafka's", CLOCK_AHEAD_MAX_MS // MINUTE_MS, "minutes", _set_aside(Reason.IN_FUTURE)),
        Limit(
            "age, so that it is billed",
            EVENT_AGE_MAX_MS // DAY_MS,
            "days",
            "The ledger records it as `unbillable`: Stripe takes no older usage."
            f" An event of a batch that has no id is refused: `{Reason.PAST_HORIZON}`.",
        ),
    ),
    "A record of `usage.events`": (
        Limit("value", EVENT_RECORD_BYTES_MAX, "bytes", "Kafka refuses the record. The Emitter and the gateway begin another batch in time."),
        Limit("value that was compressed", EVENT_VALUE_BYTES_MAX, "bytes", f"The record is set aside: `{Reason.TOO_LONG}`."),
        Limit(
            "batches in a request to the gateway",
            BATCHES_PER_REQUEST,
            "batches",
            "The request is refused: `too_many_events`. The Emitter sends more.",
        ),
        Limit("events of a batch", BATCH_EVENTS_MAX, "events", f"The batch is refused: `{Reason.BAD_BATCH}`."),
        Limit("`emitter` of a batch", EMITTER_CHARS_MAX, "characters", f"The batch is refused: `{Reason.BAD_BATCH}`."),
        Limit("`abandoned` of a heartbeat", ABANDONED_RANGES_MAX, "ranges", f"The heartbeat is refused: `{Reason.BAD_BATCH}`."),
    ),
    "A batch of records, in every topic": (
        Limit("records that are compressed, inflated", BATCH_INFLATED_BYTES_MAX, "bytes", _UNREADABLE),
        Limit("records", BATCH_RECORDS_MAX, "records", _UNREADABLE),
        Limit("headers of one record, in a batch of more than 4 MiB", BATCH_HEADERS_MAX, "headers", _UNREADABLE),
    ),
    "What an aggregator remembers of a partition": (
        Limit(
            "emitters",
            EMITTERS_MAX,
            "emitters",
            f"The oldest are forgotten. Late events without ids that may be theirs are set aside: `{Reason.PAST_HORIZON}`.",
        ),
        Limit(
            "gaps in the numbers of one emitter",
            EMITTER_GAPS_MAX,
            "gaps",
            f"The lower half is forgotten; batches among them are set aside: `{Reason.PAST_HORIZON}`.",
        ),
        Limit("gaps in the numbers of all", GAPS_MAX, "gaps", "The same, where there are most."),
    ),
    "What is billed": (
        Limit("`[[meters]]`, with those of `[[rate_cards]]`", METERS_MAX, "meters", "No service starts."),
        Limit("meters that may take the same event", EVENT_METERS_MAX, "meters", "No service starts."),
        Limit("definition of all meters", CATALOGUE_BYTES_MAX, "bytes", "No service starts."),
        Limit("usage fields or dimensions of a meter", USAGE_FIELDS_MAX, "names", "No service starts."),
        Limit("a meter event's value", VALUE_MAX, "units", "The sum is split into several meter events: Stripe takes 15 digits."),
        Limit(
            "attempts at an unknown meter event",
            RETRY_SAME_IDENTIFIER_MS // HOUR_MS,
            "hours",
            "The meter event is `parked`: Stripe may soon forget its identifier, so a person must decide.",
        ),
    ),
    "Topics": (
        Limit("a tally or an intent", CHAIN_RECORD_BYTES_MAX, "bytes", "The partition stops. Services check that topics take records of this size."),
        Limit(
            "time to count and bill an event",
            EVENTS_RETENTION_MS // DAY_MS,
            "days",
            "Kafka deletes the event and the partition stops (`HistoryLost`). No service starts on a topic that keeps records for less.",
        ),
    ),
    "Commands": (
        Limit("`--reason` of a correction or of an accepted loss", REASON_CHARS_MAX, "characters", "The command refuses it."),
        Limit("`--by`", BY_CHARS_MAX, "characters", "The command refuses it."),
    ),
}
"""By heading."""
