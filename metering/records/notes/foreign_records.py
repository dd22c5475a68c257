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
from metering.records.record import LogRecord

PASSED_OVER_FORMAT: Final = "passed-over/1"
PASSED_BATCH_FORMAT: Final = "passed-over/2"
_DECISIONS: Final = tuple(f'{{"format":"{name}"'.encode() for name in (PASSED_OVER_FORMAT, PASSED_BATCH_FORMAT))
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


@dataclass(frozen=True, slots=True)
class PassedBatch:
    """A person's decision that no reader takes in a batch that cannot be read, [offset, end) of the same topic. `why` it cannot be read.

    It is accepted only at the offset `at`: its writer has looked at everything before.
    """

    partition: int
    offset: int
    end: int
    at: int
    why: str
    reason: str
    by: str
    at_ms: int


PassingDecision = PassedOver | PassedBatch


def is_decision(value: bytes | None) -> bool:
    """Whether this record is a decision; readers of tallies and of the ledger take nothing from it."""
    return value is not None and value.startswith(_DECISIONS)


def encode_decision(decision: PassingDecision) -> bytes:
    """Its JSON bytes."""
    if isinstance(decision, PassedBatch):
        return orjson.dumps({"format": PASSED_BATCH_FORMAT, **{name: getattr(decision, name) for name in PassedBatch.__slots__}})
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


def decision_in(record: LogRecord) -> PassingDecision | None:
    """The decision that this record is; None for any other, for one that only begins like one, and for one that landed where its writer did not want
    it: such a record decides nothing, for every reader.
    """
    if not is_decision(record.value):
        return None
    try:
        decision = decode_decision(record.value)
    except RecordCorrupt:
        return None
    return None if isinstance(decision, PassedBatch) and decision.at != record.offset else decision


def passes_batch_before(offset: int, record: LogRecord) -> bool:
    """Whether a record is a decision about a batch before this offset: who has read that batch must forget it."""
    decision = decision_in(record)
    return isinstance(decision, PassedBatch) and decision.offset < offset


def decode_decision(value: bytes | None) -> PassingDecision:
    """Read a record for which `is_decision` holds. Raises RecordCorrupt."""
    try:
        document = orjson.loads(value or b"")
        partition, offset, at_ms = [whole(document[name]) for name in ("partition", "offset", "at_ms")]
        reason, by = text(document["reason"]), text(document["by"])
        if document["format"] == PASSED_BATCH_FORMAT:
            return PassedBatch(partition, offset, whole(document["end"]), whole(document["at"]), text(document["why"]), reason, by, at_ms)
        return PassedOver(partition, offset, text(document["digest"]), reason, by, at_ms)
    except (KeyError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not a decision to pass over a record: {error!r}") from error
