"""Records of usage.tallies and usage.ledger that are none of Taximeter's, and decisions of people to pass over one that looks like it. Pure.

Whether a record is foreign follows from its bytes alone, so all readers agree. What Taximeter writes begins with its format, `name/number`, and
names its partition soon after.
"""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

import orjson

from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.marked_records import text, whole

PASSED_OVER_FORMAT: Final = "passed-over/1"
_PASSED_OVER: Final = f'{{"format":"{PASSED_OVER_FORMAT}"'.encode()
_BEGINNING_BYTES: Final = 256  # in which the partition is named
_OURS: Final = re.compile(rb'\{"format":"[a-z][a-z-]{0,40}/[0-9]{1,6}",[^{}\[\]]*?"partition":[0-9]')


def is_foreign(value: bytes | None) -> bool:
    """Whether somebody else wrote this. It is passed over, by every reader, and counted."""
    return value is None or _OURS.match(value[:_BEGINNING_BYTES]) is None


def digest_of_value(value: bytes | None) -> str:
    """What a decision names a record by, beside its offset."""
    return sha256(value or b"").hexdigest()


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A person's decision, in the topic of the record at `offset` and behind it, that no reader takes that record in. `at_ms`: when, Unix ms."""

    partition: int
    offset: int
    digest: str
    reason: str
    by: str
    at_ms: int


def is_decision(value: bytes | None) -> bool:
    """Whether this record is a PassedOver; readers of tallies and of the ledger take nothing from it."""
    return value is not None and value.startswith(_PASSED_OVER)


def encode_decision(decision: PassedOver) -> bytes:
    """Its JSON bytes."""
    document: dict[str, Any] = {
        "format": PASSED_OVER_FORMAT,
        "partition": decision.partition,
        "offset": decision.offset,
        "digest": decision.digest,
        "reason": decision.reason,
        "by": decision.by,
        "at_ms": decision.at_ms,
    }
    return orjson.dumps(document)


def decision_in(value: bytes | None) -> PassedOver | None:
    """The decision that this record is; None for any other, and for one that only begins like one: it decides nothing, for every reader."""
    try:
        return decode_decision(value) if is_decision(value) else None
    except RecordCorrupt:
        return None


def decode_decision(value: bytes | None) -> PassedOver:
    """Read a record for which `is_decision` holds. Raises RecordCorrupt."""
    try:
        document = orjson.loads(value or b"")
        numbers = [whole(document[name]) for name in ("partition", "offset", "at_ms")]
        digest, reason, by = [text(document[name]) for name in ("digest", "reason", "by")]
        return PassedOver(numbers[0], numbers[1], digest, reason, by, numbers[2])
    except (KeyError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not a decision to pass over a record: {error!r}") from error
