"""A tally of one event, with whatever a test changes."""

from typing import Any

from metering.records.chain import ChainLink
from metering.records.tally import EventCounts, RecordCounts, Tally


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
