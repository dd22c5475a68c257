"""Which events of batches have numbers that are new. Pure."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS

from aggregator.core.judging import Code, Codes
from aggregator.core.log_columns import LogColumns
from aggregator.core.pending_tally import Ahead, Pending
from aggregator.core.sequences import SequenceIndex
from aggregator.ids.fingerprints import Mask
from aggregator.reading.events import Events, NumberedBatch
from metering.records.integer_columns import Integers


class Numbers(NamedTuple):
    """What the numbers say of events, a column each: those of batches (None: there is none), those that cannot count, and the own time before which
    numbers of the emitter may be forgotten. `refused`: batches of which it is not known any more what was seen.
    """

    numbered: Mask | None
    codes: Codes
    known_from: Integers
    refused: Mapping[int, EventRejected]


class Numbering:
    """Claims the numbers of batches, and takes in heartbeats."""

    def __init__(self, partition: int, sequences: SequenceIndex) -> None:
        self._partition = partition
        self._sequences = sequences

    def claim(
        self, pending: Pending, events: Events, columns: LogColumns, batches: Sequence[NumberedBatch], heartbeats: Mapping[int, Batch]
    ) -> Numbers:
        """In the order of the log. The batches are those of the events."""
        codes, known_from = np.zeros(len(events.times), np.int8), np.zeros(len(events.times), np.int64)
        if not batches:
            for place, beat in heartbeats.items():
                self._heartbeat(pending, beat, int(columns.moments[place]))
            return Numbers(None, codes, known_from, {})
        numbered = np.zeros(len(events.times), np.bool_)
        numbers = Numbers(numbered, codes, known_from, refused := {})
        firsts = events.records.searchsorted([batch.record for batch in batches]).tolist()
        for first, batch in zip(firsts, batches, strict=True):
            numbered[first : first + batch.count] = True
        if not heartbeats and self._claim_following(pending, events, columns, batches, numbered):
            return numbers
        spans = {batch.record: (batch, slice(first, first + batch.count)) for first, batch in zip(firsts, batches, strict=True)}
        for place in sorted(spans.keys() | heartbeats.keys()):
            moment = int(columns.moments[place])
            if place in heartbeats:
                self._heartbeat(pending, heartbeats[place], moment)
                continue
            batch, span = spans[place]
            try:
                self._claim_one(pending, numbers, batch, span, moment, latest_ms=int(events.times[span].max()))
            except EventRejected as rejected:
                refused[place] = rejected
                numbers.codes[span] = Code.REFUSED
        return numbers

    def _claim_following(self, pending: Pending, events: Events, columns: LogColumns, batches: Sequence[NumberedBatch], numbered: Mask) -> bool:
        """All batches at once, if every emitter's follow each other and are new: nearly always."""
        _, emitters, firsts, counts = zip(*batches, strict=True)
        moments = columns.moments[[batch.record for batch in batches]].tolist()
        latest_ms = int(events.times[numbered].max())
        ranges = self._sequences.claim_following(emitters, firsts, counts, moments, latest_ms=latest_ms)
        for emitter, first, last in ranges:
            pending.add_ranges(emitter, [(first, last)])
        return bool(ranges)

    def _claim_one(self, pending: Pending, numbers: Numbers, batch: NumberedBatch, span: slice, moment: int, *, latest_ms: int) -> None:
        ranges = self._sequences.claim(batch.emitter, batch.first_seq, batch.count, moment, latest_ms=latest_ms)
        pending.add_ranges(batch.emitter, ranges)
        codes = numbers.codes[span]
        codes[:] = Code.KNOWN_NUMBER
        for first, last in ranges:
            codes[first - batch.first_seq : last + 1 - batch.first_seq] = Code.COUNTED
        numbers.known_from[span] = self._sequences.known_from(batch.emitter)

    def _heartbeat(self, pending: Pending, beat: Batch, moment: int) -> None:
        if beat.partition != self._partition:
            return  # its numbers are of another partition: nothing to learn here
        final = beat.first_seq if beat.final else None
        self._sequences.heartbeat(beat.emitter, moment, final)
        if final is not None:
            pending.finals[beat.emitter] = final
        pending.abandoned += [(beat.emitter, first, last) for first, last in beat.abandoned]
        if beat.dropped:
            pending.dropped[beat.emitter] = beat.dropped


def at_log_times(pending: Pending, events: Events, moments: Integers, batches: Sequence[NumberedBatch], codes: Codes) -> Events:
    """The events with stamped times that are later than the log time moved to it. How far they were ahead is noted by emitter.

    A time that is further ahead than CLOCK_AHEAD_MAX_MS stays, and is in the future: its event would be forgotten before a copy of it is too old.
    """
    ahead = events.times - moments
    late = events.stamped & (ahead > 0)
    if not late.any():
        return events
    times = np.where(late & (ahead <= CLOCK_AHEAD_MAX_MS), moments, events.times)
    ahead[~late | (codes != Code.COUNTED)] = 0
    firsts = events.records.searchsorted([batch.record for batch in batches]).tolist()
    for first, batch in zip(firsts, batches, strict=True):
        found = ahead[first : first + batch.count]
        if found.any():
            pending.add_ahead(batch.emitter, Ahead(int(np.count_nonzero(found)), int(found.max())))
    return events._replace(times=times, copies_from=np.where(times < events.times, times, events.copies_from))
