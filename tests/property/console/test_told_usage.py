"""Ledgers in which much is reported, corrected and decided late, folded in steps by the console and at once by the comparison with Stripe."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CellScope, LedgerCells
from metering.records.ledger_records import (
    Correction,
    CorrectionKind,
    Entry,
    Intent,
    MeterEvent,
    Outcome,
    Receipt,
    Rejection,
    Settlement,
    decode_entry,
    encode_entry,
)
from metering.records.notes.resolution import Resolution, Resolved
from metering.records.record import Record
from tests.support.console_folding import MemoryConsole, contents
from tests.support.metering_ledger_entries import an_intent

HOUR = 3_600_000
STEPS = 60

Sums = dict[tuple[str, str, int], tuple[int, int]]
"""By customer, meter and hour: what is sure, and what is open or in doubt."""


@dataclass(slots=True)
class LedgerMaker:
    """Appends what reporters, webhooks and operators may append, in any order."""

    random: Random
    ledger: Ledger = field(default_factory=Ledger)
    log: list[Record] = field(default_factory=list)
    sent: list[tuple[int, int, str, MeterEvent]] = field(default_factory=list)

    def step(self) -> None:
        make = self.random.choice((self.intent, self.receipt, self.receipt, self.correction, self.report, self.decision))
        entry = make() if self.sent else self.intent()
        offset = len(self.log)
        self.log.append(Record(offset, 10 * offset, None, encode_entry(entry)))
        if not self.ledger.fold(offset, 10 * offset, entry):
            return
        if isinstance(entry, Intent):
            self.sent += [(offset, at, entry.identifier(at), event) for at, event in enumerate(entry.meter_events)]
        elif isinstance(entry, Correction):
            self.sent.append((offset, 0, entry.identifier(), entry.event))

    def intent(self) -> Entry:
        chain, draw = self.ledger.chain, self.random
        start = max(0, chain.end) + draw.choice((0, 0, 0, 0, 1))  # sometimes one that does not fit
        end = start + draw.randint(0 if chain.head >= 0 else 1, 2)
        return an_intent(start, end, chain.head, meter_events=[self.event() for _ in range(draw.randint(0, 3))], instance=draw.choice("ij"))

    def event(self) -> MeterEvent:
        draw = self.random
        return MeterEvent(draw.choice(("a", "b")), "tokens", (), HOUR * draw.randint(0, 2), draw.choice((1, 10, 100, -5)))

    def receipt(self) -> Entry:
        draw = self.random
        told = [Settlement(*draw.choice(self.sent)[:2], draw.choice(list(Outcome)), 9) for _ in range(draw.randint(0, 3))]
        return Receipt("c", 0, self.ledger.chain.head, self.ledger.checkpoint, draw.choice("ij"), told)

    def correction(self) -> Entry:
        offset, at, identifier, event = self.random.choice([each for each in self.sent if "-c" not in each[2].removeprefix("tm-c")] or self.sent)
        kind = self.random.choice([CorrectionKind.CANCEL, CorrectionKind.NEGATE, CorrectionKind.RESEND])
        place = self.ledger.place(len(self.log))
        known = (place.chain_head, place.chain_end, place.tally_head, place.events_end)
        return Correction("c", 0, place.offset, self.ledger.checkpoint, "o", *known, kind, offset, at, identifier, event, "why", "ann", 7)

    def report(self) -> Entry:
        names = tuple({self.random.choice(self.sent)[2] for _ in range(self.random.randint(1, 2))})
        return Rejection(0, "webhooks", "evt_1", "tokens", "code", "message", len(names), names, 1, 2, 3)

    def decision(self) -> Entry:
        offset, at, identifier, _ = self.random.choice(self.sent)
        wanted = len(self.log) + self.random.choice((0, 0, 0, 1))  # sometimes it lands elsewhere
        return Resolution("c", 0, wanted, "o", offset, at, identifier, self.random.choice(list(Resolved)), "b", (), "why", "ann", 7)


def right(log: list[Record]) -> Sums:
    cells, entries = LedgerCells(CellScope(0, 1 << 60, HOUR), Ledger()), [(each.offset, each.timestamp, decode_entry(each.value)) for each in log]
    for _, _, entry in entries:
        cells.foresee(entry)
    for offset, log_time_ms, entry in entries:
        cells.fold(offset, log_time_ms, entry)
    found = {
        (key.customer, key.meter, key.start_ms // HOUR): (cell.sure, sum(each.value for each in cell.doubts)) for key, cell in cells.finish().items()
    }
    return {key: sums for key, sums in found.items() if any(sums)}


def stored(path: Path) -> Sums:
    sure: Counter[tuple[str, str, int]] = Counter()
    doubt: Counter[tuple[str, str, int]] = Counter()
    for customer, meter, _, hour, *amounts in contents(path)["hours"]:
        sure[customer, meter, hour] += amounts[5]
        doubt[customer, meter, hour] += amounts[4] + amounts[6]
    found = {key: (sure[key], doubt[key]) for key in sure.keys() | doubt.keys()}
    return {key: sums for key, sums in found.items() if any(sums)}


@given(seed=st.integers(0, 1 << 32), steps=st.integers(1, STEPS), parts=st.lists(st.floats(0, 1), max_size=4))
def test_what_is_told_late_changes_the_sums_as_if_it_had_been_known(seed: int, steps: int, parts: list[float]) -> None:
    maker = LedgerMaker(Random(seed))
    for _ in range(steps):
        maker.step()
    with TemporaryDirectory() as folder:
        path = Path(folder, "usage")
        for part in [*sorted(parts), 1.0]:  # each by a process of its own
            asyncio.run(_follow(path, maker.log, part))
        assert stored(path) == right(maker.log)


async def _follow(path: Path, log: list[Record], part: float) -> None:
    console = MemoryConsole(path, [{"tallies": [], "ledger": log, "deadletters": []}])
    console.show(part)
    await console.read_on()
    await console.close()
