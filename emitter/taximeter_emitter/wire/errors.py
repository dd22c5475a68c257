"""The error tree; the class carries the decision.

MeteringError
├── EventRejected      the input is at fault: refused at the door, or dead-lettered; never retried
└── FailClosed         the log is not what the invariants expect: the partition stops and somebody is told
    ├── ChainBroken        a record does not follow from the accepted ones
    ├── RecordCorrupt      a record of our own topics cannot be read
    ├── HistoryLost        records that are still needed were deleted by retention
    └── PartitionsAdded    a topic in use was given more partitions
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why an event was refused or dead-lettered: the label of the counters, the `reason` of answers and dead letters."""

    MALFORMED_JSON = "malformed_json"
    NOT_AN_OBJECT = "not_an_object"
    NULL_VALUE = "null_value"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_USAGE_FIELD = "unknown_usage_field"
    WRONG_TYPE = "wrong_type"
    NOT_AN_INTEGER = "not_an_integer"
    NEGATIVE = "negative"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    TOO_MANY = "too_many"
    BAD_TIME = "bad_time"
    IN_FUTURE = "in_future"
    PAST_HORIZON = "past_horizon"
    CONFLICT = "conflict"
    BAD_BATCH = "bad_batch"
    BAD_HEADER = "bad_header"
    WRONG_PARTITION = "wrong_partition"


class MeteringError(Exception):
    """Root of what Taximeter raises on purpose."""


class EventRejected(MeteringError):
    """One event (or one whole record) is not acceptable."""

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.reason = reason
        self.field = field
        self.detail = detail


class FailClosed(MeteringError):
    """The log contradicts the invariants; going on would be guessing."""


class ChainBroken(FailClosed):
    """A record claims to be accepted and cannot be."""


class RecordCorrupt(FailClosed):
    """A record in usage.tallies or usage.ledger cannot be decoded."""


class HistoryLost(FailClosed):
    """Offsets that are still needed are below the log's start."""


class PartitionsAdded(FailClosed):
    """A partition beyond those of the settings: customers may have been moved to it by their producers, and nobody counts it."""
