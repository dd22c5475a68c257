"""A tally of one event, and one that adjusts, with whatever a test changes."""

from collections.abc import Sequence
from typing import Any

import orjson

from metering.records.adjustment import Adjustment, AdjustmentKind, part_digest, partition_digest, plan_digest
from metering.records.chain import ChainLink
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow


def a_tally(**changes: Any) -> Tally:
    about: dict[str, Any] = {
        "chain_id": "c",
        "partition": 0,
        "link": ChainLink(0, 1, -1),
        "checkpoint": -1,
        "instance": "i",
        "catalogue": "k",
        "log_time_ms": 5,
        "records": RecordCounts(singles=1),
        "events": EventCounts(counted=1),
        "rows": [],
    }
    return Tally(**about | changes)


def a_header(*parts: Sequence[TallyRow], partition: int = 0, **about: Any) -> str:
    """The header of a plan with these parts in one partition."""
    digests = [part_digest(rows) for rows in parts]
    return orjson.dumps(about | {"parts": {str(partition): [len(parts), partition_digest(digests)]}}).decode()


def an_adjustment(rows: Sequence[TallyRow], *, offset: int, end: int, header: str = "", adjusts: Any = None, **changes: Any) -> Tally:
    """The only part of a plan, unless `adjusts` says otherwise; it follows the tally before `offset`."""
    header = header or a_header(rows)
    about: dict[str, Any] = {
        "offset": offset,
        "plan": plan_digest(header),
        "part": 0,
        "parts": 1,
        "digest": part_digest(rows),
        "kind": AdjustmentKind.TAKE_OUT,
        "reason": "sent twice",
        "by": "ann",
        "at_ms": 7,
        "header": header,
    }
    tally: dict[str, Any] = {
        "link": ChainLink(end, end, offset - 1),
        "records": RecordCounts(),
        "events": EventCounts(),
        "rows": rows,
        "adjustment": Adjustment(**about | (adjusts or {})),
    }
    return a_tally(**tally | changes)
