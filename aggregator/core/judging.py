"""The outcome of each event, decided in one place. Pure.

The order of the questions: is its number new (which is known before), is it in the future, is it too old for its number to be known, does
anybody know its usage, is a part of it above the whole, is its customer's partition this one, is its identity new, and if so, is it young
enough for that to be known.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS

from aggregator.ids.fingerprints import Fingerprints, Mask, Words
from aggregator.ids.id_index import IdIndex, Seen
from aggregator.reading.events import Events
from aggregator.reading.series import SeriesTable
from metering.records.integer_columns import Integers
from metering.records.service_limits import EVENT_AGE_MAX_MS
from metering.records.tally import WhyNotCounted

Codes: TypeAlias = npt.NDArray[np.int8]
_LATEST_MS: Final = np.iinfo(np.int64).max - FUTURE_TOLERANCE_MS  # a log time may be any integer


class Code:
    """The outcome of an event. Plain integers: they are compared with whole columns."""

    COUNTED: Final = 0
    KNOWN_NUMBER: Final = 1
    DUPLICATE: Final = 2
    FOREIGN: Final = 3  # its customer belongs to another partition
    IN_FUTURE: Final = 4
    UNKNOWN_USAGE: Final = 5
    CONFLICT: Final = 6
    PAST_HORIZON: Final = 7
    REFUSED: Final = 8  # with its whole batch
    BELOW_ZERO: Final = 9  # what a meter takes off is more than what it is taken off


NOT_COUNTED: Final[Mapping[int, WhyNotCounted]] = {
    Code.KNOWN_NUMBER: WhyNotCounted.KNOWN_NUMBER,
    Code.DUPLICATE: WhyNotCounted.DUPLICATE,
}
REASONS: Final[Mapping[int, Reason]] = {
    Code.FOREIGN: Reason.WRONG_PARTITION,  # of an event of a batch; a single event is forwarded
    Code.IN_FUTURE: Reason.IN_FUTURE,
    Code.UNKNOWN_USAGE: Reason.UNKNOWN_USAGE_FIELD,
    Code.BELOW_ZERO: Reason.BELOW_ZERO,
    Code.CONFLICT: Reason.CONFLICT,
    Code.PAST_HORIZON: Reason.PAST_HORIZON,
}


class Circumstances(NamedTuple):
    """What an event is judged by, beside itself; a column each. `moments`: the log times. `numbered`: which events are of batches; None: none is.

    `numbers_from`: the own time before which numbers of the emitter may be forgotten. `ids_from`: the own time before which ids may be.
    `below_zero`: for which of the events a meter comes out below zero, `whatever`: which a meter counts whatever their usage; None: none.
    """

    moments: Integers
    numbered: Mask | None
    numbers_from: Integers
    ids_from: Integers
    below_zero: Mask | None = None
    whatever: Mask | None = None


def judge(events: Events, codes: Codes, about: Circumstances, series: SeriesTable, ids: IdIndex) -> None:
    """Give a code to each event that its number lets count. The identities of those that count are noted in `ids` as pending."""
    _give(codes, Code.IN_FUTURE, events.times > np.minimum(about.moments, _LATEST_MS) + FUTURE_TOLERANCE_MS)
    only_numbered = None
    if about.numbered is not None:
        only_numbered = about.numbered & ~events.fingerprints.any(axis=1)
        by_number = only_numbered | about.numbered & (events.copies_from > events.times)  # ids were forgotten, so the number counts as well
        too_old = events.times < np.maximum(about.moments - EVENT_AGE_MAX_MS, about.numbers_from)
        _give(codes, Code.PAST_HORIZON, by_number & too_old)
    if events.unknown:
        unknown = _is_unknown(events)
        _give(codes, Code.UNKNOWN_USAGE, unknown if about.whatever is None else unknown & ~about.whatever)
    if about.below_zero is not None:
        _give(codes, Code.BELOW_ZERO, about.below_zero)
    if series.has_foreign:
        _give(codes, Code.FOREIGN, ~series.are_home(events.series))
    if only_numbered is None and not codes.any():
        found = _judge_ids(series.identities(events), series.contents(events), events.copies_from >= about.ids_from, ids)
        if found is not None:
            codes[:] = found
        return
    identified = codes == Code.COUNTED
    if only_numbered is not None:
        identified &= ~only_numbered
    if identified.any():
        wanted = events.chosen(identified)
        found = _judge_ids(series.identities(wanted), series.contents(wanted), wanted.copies_from >= about.ids_from[identified], ids)
        if found is not None:
            codes[identified] = found


def _give(codes: Codes, code: int, which: Mask) -> None:
    """To those of these events that have none."""
    if which.any():
        codes[which & (codes == Code.COUNTED)] = code


def _is_unknown(events: Events) -> Mask:
    """Which events have quantities that nobody knows what they are, and no others. A zero is as good as absent."""
    found = np.zeros(len(events.times), np.bool_)
    found[[place for place, _, _ in events.unknown]] = True
    for column in events.usage.values():
        found &= column == 0
    return found


def _judge_ids(identities: Fingerprints, contents: Words, young: Mask, ids: IdIndex) -> Codes | None:
    """The codes of events by their identities alone; None: all count. `young`: which are counted if they are new."""
    if young.all():
        new = ids.claim(identities, contents)
        if new.all():
            return None
        codes = np.zeros(len(contents), np.int8)
    else:
        codes = np.zeros(len(contents), np.int8)
        old = np.flatnonzero(~young)
        for place in old.tolist():  # before others of the same identity, further right, are noted
            codes[place] = _CODE_OF[ids.look_up(identities[place].tobytes(), int(contents[place]))]
        new = np.zeros(len(contents), np.bool_)
        new[young] = ids.claim(identities[young], contents[young])
        _judge_old(codes, old[codes[old] == Code.PAST_HORIZON].tolist(), identities, contents, new)
        new[old] = True  # they have their codes
    for place in np.flatnonzero(~new).tolist():
        codes[place] = _CODE_OF[ids.look_up(identities[place].tobytes(), int(contents[place]))]
    return codes


def _judge_old(codes: Codes, old: list[int], identities: Fingerprints, contents: Words, new: Mask) -> None:
    """Of old events that were not known before, those that are known by an event further left."""
    if not old:
        return
    counted = {identities[place].tobytes(): place for place in np.flatnonzero(new).tolist()}
    for place in old:
        before = counted.get(identities[place].tobytes(), place)
        if before < place:
            codes[place] = Code.DUPLICATE if contents[before] == contents[place] else Code.CONFLICT


# An old event that is not known may have been forgotten.
_CODE_OF: Final[Mapping[Seen, int]] = {Seen.SAME: Code.DUPLICATE, Seen.OTHER_CONTENT: Code.CONFLICT, Seen.NEVER: Code.PAST_HORIZON}
