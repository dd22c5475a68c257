"""Resolution: a person's decision, on Stripe's own sums, about one meter event of which the ledger does not know it, or knows it wrongly.

A record of usage.ledger. Its writer has read the whole partition and names the offset where it must land: it is accepted if it landed there,
so every reader decides alike. It is never sent, and contests nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, NamedTuple

import orjson

RESOLUTION_FORMAT: Final = "resolution/1"
SUMS_READ_MAX: Final = 20
_CHARS_MAX: Final = 500  # of the reason, as in a correction
_BY_CHARS_MAX: Final = 100


class Resolved(StrEnum):
    """What was decided."""

    AT_STRIPE = "at_stripe"  # Stripe has it
    NOT_AT_STRIPE = "not_at_stripe"  # it has not: it may be sent again
    MOVED = "moved"  # it has not, and another customer is billed for it


class SumRead(NamedTuple):
    """One read of a cell: Stripe's sum `stripe` at `at_ms`, beside what was `sure` by the ledger."""

    at_ms: int
    stripe: int
    sure: int


@dataclass(frozen=True, slots=True)
class Resolution:
    """About meter event `index` of the accepted intent at offset `intent`, whose identifier is `target_identifier`.

    `offset` is where it must land. `to_customer` is who is billed instead, for MOVED. `reads` are the sums that it rests on, none where Stripe
    refused the meter event by name.
    """

    chain_id: str
    partition: int
    offset: int
    instance: str
    intent: int
    index: int
    target_identifier: str
    resolved: Resolved
    to_customer: str
    reads: Sequence[SumRead]
    reason: str
    by: str
    at_ms: int


def encode_resolution(resolution: Resolution) -> bytes:
    """The JSON bytes. `reason` and `by` must be within the bounds of a correction's."""
    assert len(resolution.reason) <= _CHARS_MAX
    assert len(resolution.by) <= _BY_CHARS_MAX
    return orjson.dumps(
        {
            "format": RESOLUTION_FORMAT,
            "chain": resolution.chain_id,
            "partition": resolution.partition,
            "offset": resolution.offset,
            "instance": resolution.instance,
            "intent": resolution.intent,
            "index": resolution.index,
            "target": resolution.target_identifier,
            "resolved": resolution.resolved,
            "to_customer": resolution.to_customer,
            "reads": [(read.at_ms, str(read.stripe), str(read.sure)) for read in resolution.reads[-SUMS_READ_MAX:]],
            "reason": resolution.reason,
            "by": resolution.by,
            "at_ms": resolution.at_ms,
        }
    )


def resolution_of(document: Mapping[str, Any]) -> Resolution:
    """From the parsed JSON. Raises what a wrong document raises: KeyError, TypeError, ValueError."""
    return Resolution(
        chain_id=document["chain"],
        partition=document["partition"],
        offset=document["offset"],
        instance=document["instance"],
        intent=document["intent"],
        index=document["index"],
        target_identifier=document["target"],
        resolved=Resolved(document["resolved"]),
        to_customer=document["to_customer"],
        reads=tuple(SumRead(at_ms, int(stripe), int(sure)) for at_ms, stripe, sure in document["reads"]),
        reason=document["reason"],
        by=document["by"],
        at_ms=document["at_ms"],
    )
