"""An adjustment: a part of a plan that changes what was counted, as a tally that covers no offsets. Its rows are signed.

Its writer has read the whole partition of usage.tallies and names the offset where the adjustment must land. It is accepted if it landed there, so
nothing came between what its writer knew and the adjustment: a copy, or a second writer's, lands elsewhere and every reader passes over it.

What a plan selects, and how, is its header. The header names the digest of each partition's parts, and the plan is the digest of the header, so that
a part that says its plan says its rows.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from typing import Any, Final, NamedTuple

import orjson
from taximeter_emitter.wire.event import Dimensions

from metering.records.fail_closed import RecordCorrupt
from metering.records.ledger_records import BY_CHARS_MAX, REASON_CHARS_MAX

PLAN_DIGEST_BYTES: Final = 16
ADJUSTED_ID_BYTES: Final = 16
ADJUSTED_QUANTITY_MAX: Final = 10**18
"""Of one row, either way: nine of them fit in 64 bits with a sign."""

AdjustedRow = tuple[str, str, Dimensions, int, int, int]
"""As a TallyRow: customer, meter, dimensions, start of the window in Unix ms, quantity, events. The last two have a sign."""


class AdjustmentKind(StrEnum):
    """What a plan does to what was counted."""

    COUNT = "count"  # events are counted by a meter, or at all, that were not when their tally was written
    TAKE_OUT = "take_out"  # events that were counted are not to be billed
    MOVE = "move"  # the usage of events is one customer's and was counted for another
    RESOLVE = "resolve"  # an amount that Stripe has or lacks, as evidence says
    REVERT = "revert"  # the accepted parts of an earlier plan, with the other sign
    ABANDON = "abandon"  # the plan ends here: it has the parts that were accepted before, and no more will come


@dataclass(frozen=True, slots=True)
class Adjustment:
    """What a tally says that adjusts: part `part` of `parts` that plan `plan` has in this partition.

    `offset` is the offset of usage.tallies where it must land. `plan` is `plan_digest` of the header, `digest` the `part_digest` of this part, both
    in hex. `header` is the plan's header as JSON text, in part 0 of each partition. `by` and `reason` say who and why, `at_ms` when by the clock of
    their machine (Unix ms). `ids` are identities of events that count by this part and whose ids are no longer remembered, ADJUSTED_ID_BYTES each.
    An ABANDON has no rows, and both `part` and `parts` are how many parts were accepted.
    """

    offset: int
    plan: str
    part: int
    parts: int
    digest: str
    kind: AdjustmentKind
    reason: str
    by: str
    at_ms: int
    header: str | None
    ids: bytes = b""

    def __post_init__(self) -> None:
        ends = self.kind is AdjustmentKind.ABANDON
        if self.offset < 1 or not (0 <= self.part == self.parts if ends else 0 <= self.part < self.parts):
            raise RecordCorrupt(f"part {self.part} of {self.parts} of plan {self.plan} cannot be meant for offset {self.offset}")
        if (self.header is not None) != (self.part == 0 and not ends):
            raise RecordCorrupt(f"part {self.part} of plan {self.plan}: the header is in the first part, and only there")
        if len(self.reason) > REASON_CHARS_MAX or len(self.by) > BY_CHARS_MAX:
            raise RecordCorrupt(f"part {self.part} of plan {self.plan} has a reason or a name that is too long")
        if len(self.ids) % ADJUSTED_ID_BYTES:
            raise RecordCorrupt(f"part {self.part} of plan {self.plan} has {len(self.ids)} bytes of ids")

    @property
    def name(self) -> str:
        """For people: the first digits of the plan, and the part."""
        return f"plan {short(self.plan)} part {self.part}"


class PlannedParts(NamedTuple):
    """How many parts a plan has in one partition, and the `partition_digest` of them."""

    parts: int
    digest: str


def short(plan: str) -> str:
    """As much of a plan's digest as people need."""
    return plan[:8]


def plan_digest(header: str) -> str:
    """The name of the plan with this header."""
    return blake2b(header.encode(), digest_size=PLAN_DIGEST_BYTES).hexdigest()


def part_digest(rows: Iterable[AdjustedRow], ids: bytes = b"") -> str:
    """The digest of a part: of its rows in any order, and of its ids in the order that they have."""
    document = [sorted(tuple(row) for row in rows), b64encode(ids).decode()]
    return blake2b(orjson.dumps(document), digest_size=PLAN_DIGEST_BYTES).hexdigest()


def partition_digest(digests: Iterable[str]) -> str:
    """The digest of all parts of a plan in a partition, from the digests of the parts in order."""
    return blake2b("".join(digests).encode(), digest_size=PLAN_DIGEST_BYTES).hexdigest()


def planned_parts(header: str) -> Mapping[int, PlannedParts]:
    """What a header says of the plan's parts, by partition: `"parts": {"3": [parts, digest]}`. All else in it is its planner's business.

    Raises RecordCorrupt if it does not say that.
    """
    try:
        return {int(partition): PlannedParts(int(parts), str(digest)) for partition, (parts, digest) in orjson.loads(header)["parts"].items()}
    except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"not the header of a plan: {error!r}") from error


def split_rows(rows: Iterable[AdjustedRow]) -> list[AdjustedRow]:
    """The same sums as rows within ADJUSTED_QUANTITY_MAX, without those that change nothing. The events of a row are in its first piece."""
    found: list[AdjustedRow] = []
    for row in rows:
        sign, left, told = (1 if row[4] > 0 else -1), abs(row[4]), row[5]
        while left:
            piece = min(left, ADJUSTED_QUANTITY_MAX)
            found.append((*row[:4], sign * piece, told))
            left, told = left - piece, 0
    return found


def rows_problem(rows: Sequence[AdjustedRow]) -> str | None:
    """Why these cannot be the rows of an adjustment; None if they can."""
    for row in rows:
        quantity, events = row[4], row[5]
        if not 0 < abs(quantity) <= ADJUSTED_QUANTITY_MAX or abs(events) > ADJUSTED_QUANTITY_MAX:
            return f"a row of {quantity} units and {events} events"
    return None


def encode_adjustment(adjustment: Adjustment) -> dict[str, Any]:
    """The block of a tally."""
    document: dict[str, Any] = {
        "offset": adjustment.offset,
        "plan": adjustment.plan,
        "part": adjustment.part,
        "parts": adjustment.parts,
        "digest": adjustment.digest,
        "kind": adjustment.kind,
        "reason": adjustment.reason,
        "by": adjustment.by,
        "at_ms": adjustment.at_ms,
    }
    if adjustment.header is not None:
        document["header"] = adjustment.header
    if adjustment.ids:
        document["ids"] = b64encode(adjustment.ids).decode()
    return document


def decode_adjustment(document: Mapping[str, Any]) -> Adjustment:
    """From the block of a tally. Raises RecordCorrupt, KeyError or ValueError."""
    return Adjustment(
        offset=document["offset"],
        plan=document["plan"],
        part=document["part"],
        parts=document["parts"],
        digest=document["digest"],
        kind=AdjustmentKind(document["kind"]),
        reason=document["reason"],
        by=document["by"],
        at_ms=document["at_ms"],
        header=document.get("header"),
        ids=b64decode(document.get("ids", "")),
    )
