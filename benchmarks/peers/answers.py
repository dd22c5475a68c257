"""What a peer has written, as sums. Pure: records in the order of their partition go in."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias

import orjson

from benchmarks.peers.load import Sums
from metering.records.chain import Chain
from metering.records.tally import decode_tally


class OutputRecord(NamedTuple):
    """One record of a peer's output topic; `append_ms` is the broker's time."""

    partition: int
    offset: int
    key: bytes
    value: bytes
    append_ms: int


Answer: TypeAlias = Callable[[Iterable[OutputRecord]], Sums]
"""Reads the sums from the output of one kind of peer."""


def added_up(records: Iterable[OutputRecord]) -> Sums:
    """Each record says what is added to a window."""
    sums = Sums()
    for record in records:
        document = orjson.loads(record.value)
        sums[record.key.decode(), document["window"]] += document["tokens"]
    return sums


def latest_total(records: Iterable[OutputRecord]) -> Sums:
    """The last record of a window has its total."""
    sums = Sums()
    for record in records:
        document = orjson.loads(record.value)
        sums[record.key.decode(), document["window"]] = document["tokens"]
    return sums


def latest_quix_total(records: Iterable[OutputRecord]) -> Sums:
    """As quixstreams writes windows: the last record of a window has its total in `value`."""
    sums = Sums()
    for record in records:
        document = orjson.loads(record.value)
        sums[record.key.decode(), document["start"]] = document["value"]
    return sums


def latest_faust_total(records: Iterable[OutputRecord]) -> Sums:
    """As Faust writes a table's changelog; the key is the JSON string of `<window>/<customer>`."""
    sums = Sums()
    for record in records:
        window, customer = orjson.loads(record.key).split("/", 1)
        sums[customer, int(window)] = orjson.loads(record.value)
    return sums


def accepted_tallies(records: Iterable[OutputRecord]) -> Sums:
    """Taximeter's own rule: a tally counts only if it continues the chain of its partition."""
    sums = Sums()
    chains: defaultdict[int, Chain] = defaultdict(Chain)
    for record in records:
        tally = decode_tally(record.value)
        if chains[record.partition].offer(record.offset, tally.link):
            for row in tally.rows:
                sums[row.customer, row.window_start_ms] += row.quantity
    return sums
