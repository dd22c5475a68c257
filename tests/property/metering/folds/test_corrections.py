"""Corrections, closings and adoptions in any ledger, folded from the start and from every checkpoint."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from audit.verification.span import Inside
from metering.folds.corrections import CorrectionHistory, named_places, objection
from metering.folds.ledger import Ledger, ledger_from
from metering.records.chain import NO_OFFSET
from metering.records.ledger_records import Correction, CorrectionKind, Entry, Intent, Note, Outcome, Rejection, decode_entry, encode_correction
from tests.support.metering_corrections import adoption, closing, correction, intent, receipt
from tests.support.records import corrections


@given(corrections)
def test_a_correction_reads_back_as_it_was_written(entry: Correction) -> None:
    assert decode_entry(encode_correction(entry)) == entry


class Log:
    """A partition of the ledger, written by two owners, two operators and webhooks; every writer may have an old view of it."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.entries: list[Entry] = []

    def draw(self, what: st.SearchStrategy[Any]) -> Any:
        return self.data.draw(what)

    def view(self) -> CorrectionHistory:
        """What a writer knows: nearly always everything."""
        behind = self.draw(st.sampled_from((0, 0, 0, 0, 1, 2)))
        return self.history(len(self.entries) - behind)

    def history(self, end: int) -> CorrectionHistory:
        found = CorrectionHistory()
        for entry in self.entries:
            if isinstance(entry, Intent):
                found.watch(named_places(Rejection(0, "", "", "", "", "", 1, identifiers_of(entry), 0, 0, 0)))
        for offset, entry in enumerate(self.entries[: max(0, end)]):
            found.fold(offset, offset, entry)
        return found

    def write(self) -> None:
        view = self.view()
        often = (self.intent, self.receipt, self.correction) * 2 + (self.receipt, self.receipt, self.rejection)
        self.entries.append(self.draw(st.sampled_from((*often, self.handover)))(view))

    def intent(self, view: CorrectionHistory) -> Entry:
        return intent(view.ledger, self.draw(st.integers(0, 3)), self.draw(st.sampled_from(("owner", "owner", "other"))))

    def receipt(self, view: CorrectionHistory) -> Entry:
        places = [(offset, index) for offset, entry in view.ledger.open.items() for index in sorted(entry.open)]
        told = self.draw(st.lists(st.sampled_from(places), max_size=3)) if places else []
        outcomes = st.sampled_from([*Outcome, Outcome.ACCEPTED, Outcome.REJECTED])
        if view.ledger.chain_id is None:
            return self.intent(view)
        return receipt(
            view.ledger, *((*place, self.draw(outcomes)) for place in told), instance=self.draw(st.sampled_from(("owner", "owner", "other")))
        )

    def correction(self, view: CorrectionHistory) -> Entry:
        """By one who keeps the rules as far as it can see."""
        allowed = [(target, kind) for target in view.targets.values() for kind in CorrectionKind if objection(target, kind) is None]
        if not allowed:
            return self.intent(view)
        target, kind = self.draw(st.sampled_from(allowed))
        place = self.entries[target.intent]
        assert isinstance(place, Intent)
        return correction(view.ledger, kind, place=place, at=target.intent, index=target.place.index, instance=f"operator-{len(self.entries)}")

    def handover(self, view: CorrectionHistory) -> Entry:
        """By one who closes an open ledger and opens a closed one, and now and then adopts one that was not closed."""
        unclosed = self.draw(st.sampled_from((False, False, True)))
        return adoption(view.ledger) if view.ledger.closing is not None or unclosed else closing(view.ledger)

    def rejection(self, view: CorrectionHistory) -> Entry:
        named = [target.identifier for target in view.targets.values()] + [found.correction.identifier() for found in view.corrections.values()]
        chosen = tuple(self.draw(st.lists(st.sampled_from(named), max_size=2))) if named else ()
        return Rejection(0, "webhooks", "evt_1", "tokens", "code", "message", 1, chosen, 0, 10_000, 1)


def accepted(entries: list[Entry]) -> set[int]:
    """The intents that the fold accepts."""
    ledger = Ledger()
    return {offset for offset, entry in enumerate(entries) if ledger.fold(offset, offset, entry) and isinstance(entry, Intent)}


def verified(entries: list[Entry]) -> set[int]:
    """Those that a verification takes for accepted, before it folds anything."""
    inside = Inside(0, 10**9)
    for offset, entry in enumerate(entries):
        inside.take(offset, entry)
    return inside.intents


def identifiers_of(entry: Intent) -> tuple[str, ...]:
    return tuple(entry.identifier(index) for index in range(len(entry.meter_events)))


@settings(max_examples=300)
@given(st.data())
def test_folds_from_the_start_and_from_any_checkpoint_agree_and_no_target_is_corrected_twice(data: st.DataObject) -> None:
    log = Log(data)
    for _ in range(data.draw(st.integers(1, 25))):
        log.write()
        last = log.entries[-1]
        whole = log.history(len(log.entries)).ledger
        if isinstance(last, Note) or last.checkpoint == NO_OFFSET:
            continue
        first = log.entries[last.checkpoint]
        assert isinstance(first, Intent | Correction)
        partly = ledger_from(last.checkpoint, first)
        for offset in range(last.checkpoint, len(log.entries)):
            partly.fold(offset, offset, log.entries[offset])
        assert partly.open == whole.open
        assert replace(partly.chain, skipped=0) == replace(whole.chain, skipped=0)
        assert (partly.tally_head, partly.events_end, partly.checkpoint) == (whole.tally_head, whole.events_end, whole.checkpoint)
        assert partly.closing == whole.closing
    assert verified(log.entries) == accepted(log.entries)
    for target in log.history(len(log.entries)).targets.values():
        certain = [found for found in target.corrections if not found.fate.reported]
        assert sum(found.fate.at_stripe is not False for found in certain) <= 1
        for found in certain:
            if found.fate.at_stripe and found.correction.kind is CorrectionKind.RESEND:
                assert target.fate.at_stripe is False
