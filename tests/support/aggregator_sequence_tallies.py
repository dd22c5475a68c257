"""Tallies that hold ranges of numbers."""

from typing import Any

from metering.records.chain import ChainLink
from metering.records.tally import EventCounts, RecordCounts, Tally


def tally(ranges: Any = (), finals: Any = (), states: Any = None) -> Tally:
    return Tally(
        chain_id="c",
        partition=0,
        link=ChainLink(0, 0, -1),
        checkpoint=-1,
        instance="i",
        catalogue="k",
        log_time_ms=5,
        records=RecordCounts(),
        events=EventCounts(),
        rows=[],
        ranges=ranges,
        finals=finals,
        emitter_states=states,
    )
