"""Corrections in the ledger: accepted where their writer wanted, open until settled, and believed like everything else."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import ChainBroken, RecordCorrupt
from taximeter_emitter.wire.limits import IDENTIFIER_CHARS_MAX

from metering.folds.corrections import CorrectionHistory, named_places, objection
from metering.folds.ledger import Ledger, ledger_from
from metering.records.chain import NO_OFFSET
from metering.records.ledger_records import (
    Correction,
    CorrectionKind,
    Entry,
    Intent,
    MeterEvent,
    Outcome,
    Rejection,
    decode_entry,
    encode_correction,
)
from tests.support.metering_corrections import EVENT, correction, intent, receipt, settled

names = st.text(min_size=1, max_size=5)
small = st.integers(0, 10**6)
corrections = st.builds(
    Correction,
    chain_id=names,
    partition=small,
    offset=small,
    checkpoint=st.integers(-1, 10**6),
    instance=names,
    chain_head=small,
    chain_end=small,
    tally_head=small,
    events_end=small,
    kind=st.sampled_from(list(CorrectionKind)),
    intent=small,
    index=small,
    target_identifier=names,
    event=st.builds(MeterEvent, names, names, st.just((("a", "b"), ("c", "d"))), small, small),
    reason=names,
    by=names,
    at_ms=small,
)
GOOD: dict[str, Any] = orjson.loads(encode_correction(correction(settled(Outcome.ACCEPTED)[0], CorrectionKind.CANCEL, place=intent(Ledger()), at=0)))


@given(corrections)
def test_a_correction_reads_back_as_it_was_written(entry: Correction) -> None:
    assert decode_entry(encode_correction(entry)) == entry


@pytest.mark.parametrize("wrong", [{"kind": "forget"}, {"dimensions": 3}, *({gone: None} for gone in GOOD)])
def test_what_is_not_a_correction_is_refused(wrong: dict[str, Any]) -> None:
    changed = {key: value for key, value in (GOOD | wrong).items() if value is not None}
    with pytest.raises(RecordCorrupt):
        decode_entry(orjson.dumps(changed))


def test_only_a_correction_that_negates_is_sent_with_a_value_below_zero() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    sent = {kind: correction(ledger, kind, place=first, at=0).meter_events for kind in CorrectionKind}
    assert sent == {
        CorrectionKind.CANCEL: (EVENT,),
        CorrectionKind.NEGATE: (replace(EVENT, value=-5),),
        CorrectionKind.RESEND: (EVENT,),
    }


def test_its_identifier_is_a_function_of_its_place_and_fits_stripes_limit() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    entry = correction(ledger, CorrectionKind.NEGATE, place=first, at=0, chain_id="f" * 16, partition=99_999, offset=10**12)
    assert entry.identifier() == f"tm-{'f' * 16}-99999-c1000000000000"
    assert len(entry.identifier()) < IDENTIFIER_CHARS_MAX


def test_a_correction_is_open_from_where_it_landed_to_its_receipt() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    assert ledger.fold(2, 50, correction(ledger, CorrectionKind.NEGATE, place=first, at=0))
    assert (list(ledger.open), ledger.open_events, ledger.checkpoint, ledger.open[2].log_time_ms) == ([2], 1, 2, 50)
    ledger.fold(3, 51, receipt(ledger))
    ledger.fold(4, 52, receipt(ledger, (2, 0, Outcome.ACCEPTED)))
    assert not ledger.open
    assert ledger.checkpoint == 0


def test_a_correction_that_landed_behind_another_entry_is_passed_over_and_the_first_one_wins() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    mine, theirs = (correction(ledger, CorrectionKind.NEGATE, place=first, at=0, instance=name) for name in ("mine", "theirs"))
    assert ledger.fold(2, 3, mine)
    assert not ledger.fold(3, 4, theirs)
    assert not ledger.fold(4, 5, mine)
    assert (list(ledger.open), ledger.chain.next_offset) == ([2], 5)


@pytest.mark.parametrize("place", ["chain_head", "chain_end", "tally_head", "events_end"])
def test_a_correction_whose_writer_knew_another_ledger_is_passed_over(place: str) -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    assert not ledger.fold(2, 3, correction(ledger, CorrectionKind.NEGATE, place=first, at=0, **{place: 77}))
    assert not ledger.open


def test_a_correction_of_another_chain_stops_the_reader() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    with pytest.raises(ChainBroken, match="of chain other"):
        ledger.fold(2, 3, correction(ledger, CorrectionKind.NEGATE, place=first, at=0, chain_id="other"))


def test_a_correction_contests_nothing_that_is_open() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    ledger.fold(2, 3, intent(ledger))
    ledger.fold(3, 4, correction(ledger, CorrectionKind.NEGATE, place=first, at=0))
    ledger.fold(4, 5, receipt(ledger, (2, 0, Outcome.REJECTED)))
    assert ledger.settled == {Outcome.ACCEPTED: 1, Outcome.REJECTED: 1}


def test_a_refused_correction_is_believed_of_the_only_one_who_said_that_it_would_send_it() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    ledger.fold(2, 3, correction(ledger, CorrectionKind.CANCEL, place=first, at=0))
    ledger.fold(3, 4, receipt(ledger))
    ledger.fold(4, 5, receipt(ledger, (2, 0, Outcome.REJECTED)))
    assert ledger.settled == {Outcome.ACCEPTED: 1, Outcome.REJECTED: 1}


@pytest.mark.parametrize("claims", [(), ("owner", "other"), ("other", "owner"), ("other",)])
def test_a_refused_correction_is_parked_when_another_may_have_sent_it(claims: tuple[str, ...]) -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    ledger.fold(2, 3, correction(ledger, CorrectionKind.CANCEL, place=first, at=0))
    for instance in claims:
        ledger.fold(ledger.chain.next_offset, 4, receipt(ledger, instance=instance))
    ledger.fold(ledger.chain.next_offset, 5, receipt(ledger, (2, 0, Outcome.REJECTED)))
    assert ledger.settled == {Outcome.ACCEPTED: 1, Outcome.PARKED: 1}


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
        self.entries.append(self.draw(st.sampled_from((self.intent, self.receipt, self.receipt, self.correction, self.rejection)))(view))

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

    def rejection(self, view: CorrectionHistory) -> Entry:
        named = [target.identifier for target in view.targets.values()] + [found.correction.identifier() for found in view.corrections.values()]
        chosen = tuple(self.draw(st.lists(st.sampled_from(named), max_size=2))) if named else ()
        return Rejection(0, "webhooks", "evt_1", "tokens", "code", "message", 1, chosen, 0, 10_000, 1)


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
        if isinstance(last, Rejection) or last.checkpoint == NO_OFFSET:
            continue
        first = log.entries[last.checkpoint]
        assert isinstance(first, Intent | Correction)
        partly = ledger_from(last.checkpoint, first)
        for offset in range(last.checkpoint, len(log.entries)):
            partly.fold(offset, offset, log.entries[offset])
        assert partly.open == whole.open
        assert replace(partly.chain, skipped=0) == replace(whole.chain, skipped=0)
        assert (partly.tally_head, partly.events_end, partly.checkpoint) == (whole.tally_head, whole.events_end, whole.checkpoint)
    for target in log.history(len(log.entries)).targets.values():
        certain = [found for found in target.corrections if not found.fate.reported]
        assert sum(found.fate.at_stripe is not False for found in certain) <= 1
        for found in certain:
            if found.fate.at_stripe and found.correction.kind is CorrectionKind.RESEND:
                assert target.fate.at_stripe is False
