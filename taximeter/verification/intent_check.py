"""Does the ledger tell Stripe what the tallies counted? Pure: tallies and entries are handed in, in log order."""

from collections import Counter
from typing import TypeGuard

from metering.errors import ChainBroken
from metering.event import Dimensions
from metering.ledger import Entry, Intent, Ledger, MeterEvent, Outcome, Receipt, Rejection
from metering.tally import Tally
from taximeter.verification.report import Report

Key = tuple[str, str, Dimensions]
"""Customer, meter, dimensions."""


class IntentCheck:
    """Folds one partition's ledger and compares every accepted intent with the tallies that it covers."""

    def __init__(self, partition: int, report: Report) -> None:
        self.ledger = Ledger()
        self._partition = partition
        self._report = report
        self._uncovered: Counter[Key] = Counter()

    def will_accept(self, entry: Entry) -> TypeGuard[Intent]:
        """Whether this entry is an intent that continues the chain, so that its tallies have to be added before it."""
        return isinstance(entry, Intent) and self.ledger.chain.continues(entry.link)

    def add(self, tally: Tally) -> None:
        """The next accepted tally."""
        for row in tally.rows:
            self._uncovered[(row.customer, row.meter, row.dimensions)] += row.quantity

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry of the ledger; every tally it covers was added. Raises ChainBroken if it belongs to another chain."""
        if isinstance(entry, Receipt):
            self._count_outcomes(entry)
            self._report.receipts += 1
            self.ledger.fold(offset, log_time_ms, entry)
        elif isinstance(entry, Rejection):
            self._report.rejections += 1
            self.ledger.fold(offset, log_time_ms, entry)
        elif self.ledger.fold(offset, log_time_ms, entry):
            self._report.intents += 1
            self._compare(offset, entry)
        else:
            self._report.intents_skipped += 1

    def finish(self) -> None:
        """After the last entry and the last tally: what is left is on its way."""
        for (_, meter, _), quantity in self._uncovered.items():
            self._report.meter(meter).uncovered += quantity
        for entry in self.ledger.open.values():
            self._report.open_meter_events += len(entry.open)
            for index in entry.open:
                event = entry.intent.meter_events[index]
                self._report.meter(event.meter).open += event.value

    def _compare(self, offset: int, intent: Intent) -> None:
        told: Counter[Key] = Counter()
        for event in (*intent.meter_events, *intent.unbillable):
            told[_key(event)] += event.value
        for event in intent.unbillable:
            self._report.meter(event.meter).outcomes[Outcome.UNBILLABLE] += event.value
        for key in told.keys() | self._uncovered.keys():
            if told[key] != self._uncovered[key]:
                customer, meter, _ = key
                where = f"intent {offset} of partition {self._partition} (tallies {intent.link.start} to {intent.link.end - 1})"
                self._report.problems.add(f"{where} tells {told[key]} units of {meter} for {customer}, the tallies hold {self._uncovered[key]}")
        self._uncovered.clear()

    def _count_outcomes(self, receipt: Receipt) -> None:
        """Note the units of each meter event when its first final outcome is read; what others say of it later changes nothing."""
        done: set[tuple[int, int]] = set()
        for settlement in receipt.settlements:
            place = (settlement.intent, settlement.index)
            entry = self.ledger.open.get(settlement.intent)
            if entry is None or settlement.index not in entry.open or not settlement.outcome.is_final or place in done:
                continue
            done.add(place)
            event = entry.intent.meter_events[settlement.index]
            self._report.meter(event.meter).outcomes[entry.judged(settlement.outcome, receipt.instance)] += event.value


def covered_tallies(intent: Intent, tallies_end: int) -> int:
    """The offset before which all tallies must be added; raises ChainBroken if the topic does not hold them."""
    if intent.link.end > tallies_end:
        raise ChainBroken(f"an intent covers tallies up to {intent.link.end}, the topic ends at {tallies_end}: it was cut or made anew")
    return intent.link.end


def _key(event: MeterEvent) -> Key:
    return event.customer, event.meter, event.dimensions
