"""What modules of the pipeline find under some of their names while a run lasts.

- Decoders that remember. Each record is decoded once, however many read it: they get the same bytes, and never change what they make of them,
  which is frozen.
- An index that archives after a few ids, so that small worlds have archives and snapshots.
- Versions of the catalogue that hold soon.
- Random names of chains and writers that the seed decides, so that a run repeats exactly.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from random import Random
from types import ModuleType
from typing import Any

from aggregator import repair, tally_log
from aggregator.core import counting, sequences
from aggregator.ids import recent_ids
from aggregator.ids.id_index import IdIndex
from aggregator.ids.recent_ids import RecentIds
from aggregator.reading import plain_reader
from aggregator.reading.decoding import read
from audit.recount import published_versions
from metering.folds import catalogue_timeline
from metering.following import catalogue_following
from metering.records import ledger_records, tally
from metering.records.batch_decoding import KnownTexts
from metering.records.record import LogRecord
from reporter import takeover as reporter_takeover
from reporter.planning import planner
from tests.simulation import catalogue_actor
from tests.simulation.catalogue_check import NOTICE_MS
from tests.simulation.world import MINUTE, SimulatedRecord

PACKAGES = ("aggregator.", "metering.", "reporter.", "taximeter.")
IDS_AT_FIRST = 64
FEW = {
    sequences: {"EMITTERS_MAX": 1, "NAMED_EMITTERS_MAX": 1, "GAPS_MAX": 2, "EMITTER_GAPS_MAX": 1},
    planner: {"CARRIED_SUMS_MAX": 1, "SURPLUS_SUMS_MAX": 2},
}
SHORT = {"NOTICE_MS_MIN": NOTICE_MS, "NOTICE_MS": NOTICE_MS, "CLOCKS_APART_MS": 4 * MINUTE + 1, "UNSURE_MS": 0}
"""Of versions of the catalogue, so that small worlds have several. The clocks of brokers differ by two minutes, each way."""
TIMED = (catalogue_timeline, catalogue_following, catalogue_actor, published_versions)
KEPT = 4_096  # decoded entries and tallies, of all runs of a process


class Tokens:
    """The part of `secrets` that is used, from a seed."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)

    def token_hex(self, size: int) -> str:
        """This many bytes in hexadecimal digits."""
        return self._random.randbytes(size).hex()


def _make_small_tables() -> None:
    """Room for the ids that a small world has: a table of the usual size is a megabyte of zeros, and there are many."""
    recent_ids.IDS_AT_FIRST = IDS_AT_FIRST  # type: ignore[misc]  # a constant of production
    RecentIds.__init__.__kwdefaults__ = {"expected": IDS_AT_FIRST}
    plain_reader.TYPED_FROM = 2  # type: ignore[misc]  # so that single events are read at once, although the worlds are small


@contextmanager
def bound(seed: int, *, recent_ids_max: int, crowded: bool) -> Iterator[None]:
    """Put the replacements in, and take them out again. `crowded`: few emitters are remembered, and few sums are carried."""
    own: dict[ModuleType, tuple[str, Any]] = {counting: ("IdIndex", partial(IdIndex, recent_max=recent_ids_max))}
    tokens = Tokens(seed)
    for module in (tally_log, repair, reporter_takeover):
        own[module] = ("secrets", tokens)
    few = [(module, name, value) for module, values in FEW.items() for name, value in values.items()] if crowded else []
    short = [(module, name, value) for module in TIMED for name, value in SHORT.items() if hasattr(module, name)]
    before = [
        (module, name, getattr(module, name))
        for module, name in [*((module, name) for module, (name, _) in own.items()), *(each[:2] for each in (*short, *few))]
    ]
    try:
        for module, (name, replacement) in own.items():
            setattr(module, name, replacement)
        for module, name, value in (*short, *few):
            setattr(module, name, value)
        for module, name, remembering, _ in _DECODERS:
            setattr(module, name, remembering)
        yield
    finally:
        for module, name, _, original in _DECODERS:
            setattr(module, name, original)
        for module, name, original in before:
            setattr(module, name, original)


def _read_once(record: LogRecord, known: KnownTexts | None = None) -> Any:
    """`aggregator.reading.decoding.read`; its answer stays with the record."""
    if not isinstance(record, SimulatedRecord):
        return read(record, known)
    if record.content is None:
        record.content = read(record, known)
    return record.content


def _decoders() -> Iterator[tuple[ModuleType, str, Callable[..., Any], Callable[..., Any]]]:
    """Every module that has imported a decoder, the name, what remembers, and the original."""
    for original, remembering in (
        (tally.decode_tally, lru_cache(KEPT)(tally.decode_tally)),
        (ledger_records.decode_entry, lru_cache(KEPT)(ledger_records.decode_entry)),
        (read, _read_once),
    ):
        for name, module in list(sys.modules.items()):
            if name.startswith(PACKAGES) and getattr(module, original.__name__, None) is original:
                yield module, original.__name__, remembering, original


_DECODERS = list(_decoders())
_make_small_tables()
