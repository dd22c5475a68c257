"""Tallies that hold what is known of emitters."""

from typing import Any

from aggregator.core.sequences import SequenceIndex
from metering.records.chain import ChainLink
from metering.records.tally import EventCounts, RecordCounts, Tally, decode_tally, encode_tally


def tally(ranges: Any = (), finals: Any = (), states: Any = None, **more: Any) -> Tally:
    about: dict[str, Any] = {"log_time_ms": 5} | more
    return Tally(
        chain_id="c",
        partition=0,
        link=ChainLink(0, 0, -1),
        checkpoint=-1,
        instance="i",
        catalogue="k",
        records=RecordCounts(),
        events=EventCounts(),
        rows=[],
        ranges=ranges,
        finals=finals,
        emitter_states=states,
        **about,
    )


def checkpoint(index: SequenceIndex) -> Tally:
    """One that carries all that an index knows, written and read again."""
    written = encode_tally(tally(states=index.states(), digested_emitters=index.digested(), emitters_from_ms=index.known_from_ms))
    return decode_tally(written)
