"""Counts one tally again from its records, beside what it says. Pure: the tallies and records of a partition are handed in, in order."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS

from audit.decoder.record_contents import BatchContents, HeartbeatContents, HeldEvents, SingleContents, UnreadableContents
from audit.decoder.record_reading import contents_of
from audit.recount.aside_book import AsideBook
from audit.recount.derived_rows import DerivedRows, is_below_zero, units_of
from audit.recount.left_out import NOTHING, LeftOut, LeftOutPlaces
from audit.recount.meter_definitions import CatalogueRules, KnownCatalogues
from audit.recount.published_versions import PublishedVersions
from audit.recount.seen_identities import Remembered, SeenIdentities
from audit.recount.taken_numbers import TakenNumbers, joined, ranges_of
from metering.records.record import LogRecord
from metering.records.service_limits import EVENT_AGE_MAX_MS
from metering.records.tally import Range, Tally

KINDS: Final = ("heartbeats", "batches", "singles", "skipped", "lost", "stepped_over")
PHRASES_MAX: Final = 10
"""Phrases of one kind about one tally; those beyond are counted."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """An event that was moved: its identity must be in the log of partition `home`."""

    home: int
    identity: bytes
    offset: int


@dataclass(slots=True)
class RecountHistory:
    """What is carried from tally to tally of one partition. `home_of` says which partition a customer belongs to."""

    partition: int
    home_of: Callable[[str], int]
    catalogues: KnownCatalogues = field(default_factory=KnownCatalogues)
    versions: PublishedVersions = field(default_factory=PublishedVersions)
    latest_ms: int = 0  # of the log times of all records that are counted
    numbers: TakenNumbers = field(default_factory=TakenNumbers)
    counted_numbers: TakenNumbers = field(default_factory=TakenNumbers)  # those of events that are in rows
    identities: SeenIdentities = field(default_factory=SeenIdentities)
    aside: AsideBook = field(default_factory=AsideBook)
    forwarded: list[Forwarded] = field(default_factory=list)
    redriven: dict[int, set[int]] = field(default_factory=dict)  # by offset, the places of events that redrives took back
    said_known: dict[int, set[int]] = field(default_factory=dict)  # and of those that redrives say were counted already
    emitters_from_ms: int = 0  # events of emitters that are not known may have been counted if they are older than this

    def learn_numbers(self, tally: Tally) -> None:
        """Believe a tally whose records are not looked at."""
        self.learn_time(tally)
        for emitter, first, last in tally.ranges:
            self.numbers.take(emitter, first, last)

    def learn_time(self, tally: Tally) -> None:
        """Believe the log time of a tally."""
        self.latest_ms = max(self.latest_ms, tally.log_time_ms)


class TallyRecount:
    """One accepted tally. `take` its records in order, then ask for `phrases`."""

    def __init__(self, tally: Tally, history: RecountHistory) -> None:
        self._tally = tally
        self._history = history
        self._left_out = LeftOutPlaces(tally)
        self._defined = history.catalogues.learn(tally)
        history.identities.begin_tally()
        history.emitters_from_ms = max(history.emitters_from_ms, tally.emitters_from_ms)
        rules = history.catalogues.of(tally.catalogue)
        # Tallies of the old format do not say all that they leave out.
        self._rules: CatalogueRules | None = rules if tally.horizon_ms is not None else None
        self._rows = None if self._rules is None else DerivedRows(self._rules)
        self._latest_ms = history.latest_ms
        self._of_others: list[tuple[int, str]] = []  # offsets, with the version in force, of records of other versions
        self._records: Counter[str] = Counter()
        self._events: Counter[LeftOut | None] = Counter()
        self._ranges: dict[str, list[Range]] = {}
        self._finals: dict[str, int] = {}
        self._abandoned: list[tuple[str, int, int]] = []
        self._dropped: dict[str, int] = {}
        self._unknown: dict[str, list[int]] = {}
        self._phrases: list[str] = []

    @property
    def is_derived(self) -> bool:
        """Whether its rows can be derived: by its form, and as its catalogue is known."""
        tally = self._tally
        decided = (tally.acceptance, tally.stepped_over, tally.adjustment)
        return self._rows is not None or any(found is not None for found in decided)

    def take(self, record: LogRecord) -> None:
        """The next record of its range."""
        self._latest_ms = max(self._latest_ms, record.timestamp)
        self._check_version(record.offset)
        contents = contents_of(record)
        match contents:
            case HeartbeatContents():
                self._records["heartbeats"] += 1
                if contents.partition == self._history.partition:
                    self._take_heartbeat(contents)
            case UnreadableContents(why, claimed):
                self._records["singles"] += 1
                self._take_unreadable(record, why, claimed)
            case BatchContents():
                self._records["batches"] += 1
                self._take_batch(record, contents)
            case SingleContents():
                self._records["singles"] += 1
                self._take_single(record, contents)

    def phrases(self) -> list[str]:
        """What does not hold, after the last record. Counts the offsets without a record."""
        tally = self._tally
        if tally.acceptance is not None or tally.stepped_over is not None:
            self._history.learn_time(tally)
        else:
            self._history.latest_ms = self._latest_ms
        if tally.acceptance is not None:
            held = self._records.total()
            return [f"accepts {tally.records.lost} records as lost, and the log holds {held} of them"] if held else []
        if tally.stepped_over is not None or tally.adjustment is not None:
            return []  # what adjusts is checked with the whole plan
        self._records["skipped"] = tally.link.end - tally.link.start - self._records.total()
        found = [*self._phrases] if self._defined is None else [self._defined, *self._phrases]
        for kind in KINDS:
            said = getattr(tally.records, kind)
            if said != self._records[kind]:
                found.append(f"counts {said} {kind}, the log holds {self._records[kind]}")
        found += self._version_phrases()
        found += self._event_phrases()
        found += self._number_phrases()
        if self._rows is not None and {name: [events, units] for name, events, units in tally.unknown_usage} != self._unknown:
            found.append("says of unknown usage fields otherwise than its records do")
        if self._rows is not None:
            found += islice(self._rows.differences(tally.rows), PHRASES_MAX)
            found += islice(self._rows.last_differences(tally.latest), PHRASES_MAX)
        return found

    # Records

    def _take_heartbeat(self, beat: HeartbeatContents) -> None:
        if beat.final is not None:
            self._finals[beat.emitter] = beat.final
        self._abandoned += [(beat.emitter, first, last) for first, last in beat.abandoned]
        if beat.dropped:
            self._dropped[beat.emitter] = beat.dropped

    def _take_unreadable(self, record: LogRecord, why: str, claimed: int) -> None:
        left_out = self._left_out.of(record.offset, claimed)
        aside = sum(reason is LeftOut.SET_ASIDE for reason in left_out.values())
        self._note(left_out, claimed)
        if aside:
            self._history.aside.add_unread("unreadable", aside)
        if aside < claimed:
            self._say(f"takes {claimed - aside} events from record {record.offset}, which cannot be read: {why}")

    def _take_single(self, record: LogRecord, contents: SingleContents) -> None:
        events = contents.events
        left_out = self._left_out.of(record.offset, 1)
        self._note(left_out, 1)
        home = self._history.home_of(events.series[0][0])
        why = left_out.get(0)
        if why is LeftOut.FORWARDED:
            if home == self._history.partition:
                self._say(f"forwards record {record.offset}, which is at home here")
            else:
                self._history.forwarded.append(Forwarded(home, identity_in(events, 0), record.offset))
            return
        if home != self._history.partition and why is not LeftOut.SET_ASIDE:
            self._say(f"counts record {record.offset}, whose customer belongs to partition {home}")
        if why is LeftOut.KNOWN_NUMBER:
            self._say(f"leaves out record {record.offset} for its number, and it has none")
        self._take_events(record, events, left_out, whole=None)

    def _take_batch(self, record: LogRecord, batch: BatchContents) -> None:
        count = len(batch.events.at)
        left_out = self._left_out.of(record.offset, count)
        self._note(left_out, count)
        is_foreign = batch.partition != self._history.partition
        if is_foreign:
            counted = count - sum(why is LeftOut.SET_ASIDE for why in left_out.values())
            if counted:
                self._say(f"takes {counted} events from record {record.offset}, which was numbered for partition {batch.partition}")
        elif not self._left_out.is_untaken(record.offset):
            self._take_numbers(record, batch, count, left_out)
        if any(why is LeftOut.FORWARDED for why in left_out.values()):
            self._say(f"forwards events of record {record.offset}, which is a batch")
        unknown_numbers = not is_foreign and self._left_out.is_untaken(record.offset)
        self._take_events(record, batch.events, left_out, whole=_whole_reason(is_foreign=is_foreign, unknown_numbers=unknown_numbers))

    def _take_numbers(self, record: LogRecord, batch: BatchContents, count: int, left_out: Mapping[int, LeftOut]) -> None:
        numbers = self._history.numbers
        known = {place for place, why in left_out.items() if why is LeftOut.KNOWN_NUMBER}
        never = [place for place in known if not numbers.has(batch.emitter, batch.first + place)]
        if never:
            self._say(
                f"leaves out {len(never)} events of record {record.offset} as known numbers, and no record before it holds"
                f" number {batch.first + min(never)} of emitter {batch.emitter}"
            )
        new = [(batch.first, batch.first + count - 1)] if not known else ranges_of(batch.first, [at for at in range(count) if at not in known])
        for first, last in new:
            if self._tally.horizon_ms is not None:
                self._count_numbers(record, batch, range(first - batch.first, last + 1 - batch.first), left_out)
            numbers.take(batch.emitter, first, last)
        self._ranges.setdefault(batch.emitter, []).extend(new)

    def _count_numbers(self, record: LogRecord, batch: BatchContents, places: range, left_out: Mapping[int, LeftOut]) -> None:
        """A number may be taken again after its emitter was forgotten. But an event that counted does not count again."""
        counted = self._history.counted_numbers
        for first, last in ranges_of(batch.first, [place for place in places if place not in left_out] if left_out else places):
            if not counted.are_new(batch.emitter, first, last):
                number = next(number for number in range(first, last + 1) if counted.has(batch.emitter, number))
                self._say(f"counts events of record {record.offset} again: number {number} of emitter {batch.emitter} was counted before")
            counted.take(batch.emitter, first, last)

    # Events

    def _take_events(self, record: LogRecord, events: HeldEvents, left_out: Mapping[int, LeftOut], *, whole: Reason | None) -> None:
        rules = self._rules
        if rules is None or self._rows is None:
            return
        counted = None if left_out is NOTHING else [place for place in range(len(events.at)) if place not in left_out]
        self._rows.add(events, counted)
        places: Sequence[int] = range(len(events.at)) if counted is None else counted
        known = [rules.fields_for(dimensions) for _, dimensions in events.series]
        for field_name, column in events.usage.items():
            if any(field_name not in fields for fields in known):
                self._take_unknown(field_name, [column[place] for place in places if field_name not in known[events.at[place]]])
        if any(events.identities) or left_out:
            judge = _EventJudge(self._tally, self._history, rules, record, whole=whole)
            for place in range(len(events.at)):
                phrase = judge.judge(events, place, left_out.get(place))
                if phrase is not None:
                    self._say(phrase)

    def _take_unknown(self, field_name: str, column: Sequence[int]) -> None:
        units = sum(column)
        if units:
            total = self._unknown.setdefault(field_name, [0, 0])
            total[0] += sum(quantity > 0 for quantity in column)
            total[1] += units

    def _note(self, left_out: Mapping[int, LeftOut], count: int) -> None:
        self._events[None] += count - len(left_out)
        if left_out:
            self._events.update(left_out.values())

    # What the tally says

    def _check_version(self, offset: int) -> None:
        wanted = self._history.versions.in_force(self._latest_ms)
        if wanted is not None and wanted != self._tally.catalogue:
            self._of_others.append((offset, wanted))

    def _version_phrases(self) -> list[str]:
        tally, others = self._tally, self._of_others
        found = []
        if not self._records.total() - self._records["skipped"]:
            self._check_version(tally.link.start)
        if others:
            offset, wanted = others[0]
            found.append(
                f"counts by version {tally.catalogue} of the catalogue, and of {len(others)} records, from {offset} on, version {wanted} was in force"
            )
        versions = self._history.versions
        if versions.in_force(tally.log_time_ms) != versions.in_force(self._latest_ms):  # a new owner would go on by another version
            found.append(f"says that its latest log time is {tally.log_time_ms}, its records hold {self._latest_ms}")
        return found

    def _event_phrases(self) -> list[str]:
        said = self._tally.events
        if self._tally.horizon_ms is None:
            total = self._events.total()
            return [] if said.total == total else [f"accounts for {said.total} events, the log holds {total}"]
        held = self._events
        pairs = (
            ("counts", said.counted, held[None]),
            ("leaves out as duplicates", said.duplicates, held[LeftOut.DUPLICATE] + held[LeftOut.KNOWN_NUMBER]),
            ("forwards", said.forwarded, held[LeftOut.FORWARDED]),
            ("sets aside", sum(said.dead_lettered.values()), held[LeftOut.SET_ASIDE]),
        )
        return [f"{verb} {one} events, its records hold {other}" for verb, one, other in pairs if one != other]

    def _number_phrases(self) -> list[str]:
        tally, found = self._tally, []
        if tally.horizon_ms is not None:
            said: dict[str, list[Range]] = {}
            for emitter, first, last in tally.ranges:
                said.setdefault(emitter, []).append((first, last))
            for emitter in sorted(said.keys() | self._ranges.keys()):
                one, other = joined(said.get(emitter, ())), joined(self._ranges.get(emitter, ()))
                if one != other:
                    found.append(f"claims the numbers {_ranges(one)} of emitter {emitter}, its records hold {_ranges(other)}")
        if dict(tally.finals) != self._finals:
            found.append("says of emitters that they closed otherwise than their heartbeats do")
        if sorted(tally.abandoned) != sorted(self._abandoned):
            found.append("says of numbers that they were given up otherwise than heartbeats do")
        if dict(tally.dropped) != self._dropped:
            found.append("says of events that they were dropped otherwise than heartbeats do")
        return found[:PHRASES_MAX]

    def _say(self, phrase: str) -> None:
        if len(self._phrases) < PHRASES_MAX:
            self._phrases.append(phrase)
        elif len(self._phrases) == PHRASES_MAX:
            self._phrases.append("does more that does not hold")


class _EventJudge:
    """Is what the tally says of one event of a record borne out by the log? `whole`: why the whole record is set aside, as the log shows it."""

    def __init__(self, tally: Tally, history: RecountHistory, rules: CatalogueRules, record: LogRecord, *, whole: Reason | None) -> None:
        self._horizon_ms = tally.horizon_ms or 0
        self._ids_from_ms = tally.losses.ids_from_ms
        self._history = history
        self._rules = rules
        self._record = record
        self._whole = whole

    def judge(self, events: HeldEvents, place: int, why: LeftOut | None) -> str | None:
        """What is wrong with it, as a phrase."""
        identity, history, log_time_ms = identity_in(events, place), self._history, self._record.timestamp
        if why is LeftOut.SET_ASIDE:
            return self._set_aside(events, place, identity)
        if why in {LeftOut.KNOWN_NUMBER, LeftOut.FORWARDED}:
            return None
        content = content_in(events, place) if identity else 0
        where = f"record {self._record.offset}{f' [{place}]' if len(events.at) > 1 else ''}"
        if why is LeftOut.DUPLICATE:
            known = history.identities.look_up(identity, content, log_time_ms) if identity else Remembered.NEVER
            if known is Remembered.NEVER:
                return f"leaves out {where} as a duplicate, and no record before it counts the same event"
            return f"leaves out {where} as a duplicate, and what was counted before has other content" if known is Remembered.OTHER else None
        if not identity:
            return None
        history.aside.counted(identity, content)
        if history.identities.count(identity, content, log_time_ms, self._horizon_ms, own_ms=events.times[place]):
            return f"counts {where} again: the same event was counted before"
        return None

    def _set_aside(self, events: HeldEvents, place: int, identity: bytes) -> str | None:
        content = content_in(events, place) if identity else 0
        reason = self._reason(events, place, identity, content)
        if place in self._history.redriven.get(self._record.offset, ()):
            self._history.aside.add_redriven(reason or "unexplained")
        elif place in self._history.said_known.get(self._record.offset, ()):
            self._said_known(events, place, identity, reason or "unexplained")
        else:
            self._history.aside.add(reason or "unexplained", units_of(events, place, self._rules), identity, content)
        return None if reason else f"sets aside record {self._record.offset} [{place}], and nothing in the log says why"

    def _said_known(self, events: HeldEvents, place: int, identity: bytes, reason: str) -> None:
        """A redrive wrote this event not again, because its identity was counted. That must show here, unless it is another partition's."""
        history = self._history
        seen = history.identities.look_up(identity, 0, self._record.timestamp) if identity else Remembered.NEVER
        is_elsewhere = history.home_of(events.series[events.at[place]][0]) != history.partition
        if seen is not Remembered.NEVER or is_elsewhere or history.identities.has_forgotten:
            history.aside.add_redriven(reason)
        else:
            history.aside.add_said_known(reason, units_of(events, place, self._rules), identity)

    def _reason(self, events: HeldEvents, place: int, identity: bytes, content: int) -> str | None:
        """Why it must be set aside, as far as the log shows it."""
        moment, log_time_ms = events.times[place], self._record.timestamp
        customer = events.series[events.at[place]][0]
        known = self._history.identities.look_up(identity, content, log_time_ms) if identity else Remembered.NEVER
        if self._whole is not None:
            return self._whole.value
        if moment > log_time_ms + FUTURE_TOLERANCE_MS:
            return Reason.IN_FUTURE.value
        by_number = not identity or events.copies_from[place] > moment
        if by_number and moment < max(log_time_ms - EVENT_AGE_MAX_MS, self._history.emitters_from_ms):
            return Reason.PAST_HORIZON.value
        if self._is_nothing_known(events, place):
            return Reason.UNKNOWN_USAGE_FIELD.value
        if is_below_zero(events, place, self._rules):
            return Reason.BELOW_ZERO.value
        if self._history.home_of(customer) != self._history.partition:
            return Reason.WRONG_PARTITION.value
        if known is Remembered.OTHER:
            return Reason.CONFLICT.value
        if identity and events.copies_from[place] < max(log_time_ms - self._horizon_ms, self._ids_from_ms):
            return Reason.PAST_HORIZON.value
        return Reason.CONFLICT.value if known is Remembered.NOT_LOOKED_AT else None

    def _is_nothing_known(self, events: HeldEvents, place: int) -> bool:
        """Whether an event has some usage, and nobody knows what any of it is."""
        _, dimensions = events.series[events.at[place]]
        used = {field for field, column in events.usage.items() if column[place]}
        return bool(used) and used.isdisjoint(self._rules.fields_for(dimensions)) and not self._rules.counts_all_of(dimensions)


def _whole_reason(*, is_foreign: bool, unknown_numbers: bool) -> Reason | None:
    """A batch of another partition; or one of an emitter of which it is not remembered which numbers were seen."""
    if is_foreign:
        return Reason.WRONG_PARTITION
    return Reason.PAST_HORIZON if unknown_numbers else None


def identity_in(events: HeldEvents, place: int) -> bytes:
    """What makes an event the same event: its fingerprint and its customer. Empty if it has only its number."""
    fingerprint = events.identities[place]
    return fingerprint + events.series[events.at[place]][0].encode() if fingerprint else b""


def content_in(events: HeldEvents, place: int) -> int:
    """A number that tells events of one identity apart by what they bill, the same in one process."""
    usage = sorted((field, column[place]) for field, column in events.usage.items() if column[place])
    return hash((events.series[events.at[place]], *usage))


def _ranges(ranges: Sequence[Range]) -> str:
    return ", ".join(f"{first}-{last}" for first, last in ranges[:3]) + (" and more" if len(ranges) > 3 else "") or "(none)"
