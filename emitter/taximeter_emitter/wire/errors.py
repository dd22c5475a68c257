"""What this package raises on purpose, and why an event is refused.

TaximeterError
├── EventRejected      the input is at fault: refused before it is sent, or dead-lettered; never retried
├── ProducerFailed     a record was not taken; sent again through another producer
├── BatchRefused       a gateway will never take this batch; set aside on disk
└── SpoolFailed        the disk did not take or give a batch; it stays in memory
"""

from enum import Enum


class Reason(str, Enum):
    """Why an event was refused or dead-lettered: the label of the counters, the `reason` of answers and dead letters. A string, as a StrEnum is."""

    __str__ = str.__str__

    def __format__(self, format_spec: str) -> str:
        return str.__format__(self, format_spec)

    MALFORMED_JSON = "malformed_json"
    NOT_AN_OBJECT = "not_an_object"
    NULL_VALUE = "null_value"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    UNKNOWN_USAGE_FIELD = "unknown_usage_field"
    WRONG_TYPE = "wrong_type"
    NOT_AN_INTEGER = "not_an_integer"
    NEGATIVE = "negative"
    BELOW_ZERO = "below_zero"
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
    STEPPED_OVER = "stepped_over"


class TaximeterError(Exception):
    """Root of what Taximeter raises on purpose."""


class EventRejected(TaximeterError):
    """One event (or one whole record) is not acceptable."""

    def __init__(self, reason: Reason, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}" if field else detail)
        self.reason = reason
        self.field = field
        self.detail = detail
