"""The independent checker: what was emitted against what Stripe has, and every topic read with a parser of its own.

It imports nothing of the pipeline. It is given the journal, the raw records of the topics and Stripe's books, and says what is wrong by name:

    lost-write    a durable event is in nobody's account
    duplicate     an event is accounted for more than once
    phantom       something was billed that nobody emitted
    unaccounted   a record, an event or a sum is missing from the proof, or was set aside without cause
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.simulation.adjustment_check import AdjustmentBook, Plans
from tests.simulation.catalogue_check import VersionsCheck
from tests.simulation.correction_check import POSTPONED, CorrectionBook, Outcomes, PartitionCorrections
from tests.simulation.journal import EVENTS_PER_CUSTOMER, Emitted, Journal
from tests.simulation.latest_check import LATEST, LatestCheck, read_latest
from tests.simulation.raw_records import METERS, BookEntry, MeterLine, RawEvent, RawRecord, read_final, read_meter_events, read_record
from tests.simulation.row_check import row_objections

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
LARGEST = 6 * HOUR  # the largest window
LARGEST_CARRIED = 7 * 24 * HOUR  # of what waits for a meter or a link, where it is much
HOURLY_MAX = 4  # where there are at most this many sums by the hour, these reporters merge no further
CLOCKS_DIFFER = HOUR + 10 * MINUTE  # the clocks of producers, an hour, and of brokers, ten minutes

Account = tuple[str, str]
"""Customer and meter."""


Log = Sequence[RawRecord | None]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise."""

    name: str
    text: str


@dataclass(slots=True)
class Evidence:
    """All that the checker may look at. `horizon_ms`: for how long ids are remembered. `boundaries`: of customers' billing periods, Unix seconds.

    `cancelled` are identifiers in the books that Stripe has cancelled, `dropped` those that it accepted and did not record, `refused` those that
    it would not take. `kept_from`: by partition, the first offset of the events that retention has not deleted; the logs still have what was.
    `crowded`: emitters may be forgotten, and new numbers of theirs are then set aside. `billed`: whom each identifier was said to be for, ever.
    `tells_latest`: a meter tells the latest value.
    `links`: the names at Stripe, ever, of customers that need a link.
    """

    partitions: int
    horizon_ms: int
    journal: Journal
    events: Mapping[int, Log]
    tallies: Mapping[int, Log]
    ledger: Mapping[int, Log]
    deadletters: Mapping[int, Log]
    catalogue: Log
    books: Sequence[BookEntry]
    cancelled: Collection[str]
    dropped: Collection[str]
    refused: Collection[str]
    crowded: bool
    kept_from: Sequence[int]
    plans: Plans
    boundaries: Mapping[str, Sequence[int]]
    billed: Mapping[str, Collection[str]]
    links: Mapping[str, Collection[str]]
    tells_latest: bool = False


@dataclass(slots=True)
class _Copies:
    """Where copies of one logical event are in the log, and what the accepted tallies did with them."""

    home_live: int = 0  # in the home partition and not set aside
    away: int = 0  # in another one, from where it must be forwarded
    aside: int = 0
    lost: int = 0  # deleted uncounted, and accepted as lost


@dataclass(slots=True)
class _Sums:
    """How often each account's digits occur at each place. What was adjusted may be merged with anything, so that only sums have digits."""

    adjusted: Counter[Account] = field(default_factory=Counter)
    tallied: Counter[Account] = field(default_factory=Counter)
    booked: Counter[Account] = field(default_factory=Counter)
    parked: Counter[Account] = field(default_factory=Counter)
    parked_events: dict[str, tuple[Account, int]] = field(default_factory=dict)
    refused: Counter[Account] = field(default_factory=Counter)  # rejected or unbillable
    told: Counter[Account] = field(default_factory=Counter)  # of adjusted accounts: parked, and not in the books


class Checker:
    """Collects violations; `check` runs everything once."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._violations: list[Violation] = []
        self._copies: dict[tuple[str, int], _Copies] = defaultdict(_Copies)
        self._sums = _Sums()
        self._corrections = CorrectionBook()
        self._accepted: dict[str, tuple[str, str, int]] = {}
        self._garbage: Counter[bytes | None] = Counter()
        self._letters: dict[tuple[int, int], list[tuple[RawRecord, dict[str, Any]]]] = defaultdict(list)
        self._numbers: set[tuple[int, tuple[str, int]]] = set()
        self._windows: dict[tuple[str, int], set[int]] = defaultdict(set)
        self._versions = VersionsCheck(evidence.catalogue)
        self._latest = LatestCheck(evidence.journal, evidence.boundaries, self._say, tells_latest=evidence.tells_latest)
        self._groups: dict[tuple[str, str, bool], list[Emitted]] = defaultdict(list)
        for event in evidence.journal.events.values():
            self._groups[event.customer, event.identity, event.has_id].append(event)

    def check(self) -> list[Violation]:
        """Everything that is wrong; empty if nothing is."""
        identifiers: dict[str, tuple[str, str, int]] = {}
        for log in self._evidence.deadletters.values():
            for letter in log:
                assert letter is not None
                about = orjson.loads(dict(letter.headers)["taximeter-dead-letter"] or b"")
                self._letters[about["partition"], about["offset"]].append((letter, about))
        for partition in range(self._evidence.partitions):
            tallies = self._check_tallies(partition)
            identifiers |= self._check_ledger(partition, tallies)
        self._check_books(identifiers)
        self._check_events()
        self._latest.books(self._evidence.books, self._evidence.billed)
        return self._violations

    def _say(self, name: str, text: str) -> None:
        self._violations.append(Violation(name, text))

    # usage.tallies against usage.events

    def _check_tallies(self, partition: int) -> list[tuple[int, dict[str, Any] | None]]:
        """The offset of each tally, and its content if it is accepted."""
        log = self._evidence.events[partition]
        end: int | None = None
        chain: str | None = None
        adjustments = AdjustmentBook(partition, self._evidence.plans, self._say)
        folded: list[tuple[int, dict[str, Any] | None]] = []
        head = -1
        heads = {-1}
        lost = ids_from_ms = 0
        self._versions.begin()
        for record in self._evidence.tallies[partition]:
            assert record is not None
            tally = orjson.loads(record.value or b"")
            founds = tally["previous"] == -1
            if "adjustment" in tally and not adjustments.counts(record.offset, tally, chain, end):
                folded.append((record.offset, None))
                continue
            if (end is None) != founds or (end is not None and tally["start"] != end):
                folded.append((record.offset, None))
                continue
            if tally["previous"] not in heads:
                self._say("unaccounted", f"tally {record.offset} of {partition} follows {tally['previous']}, which is not accepted")
            if end is None and tally["start"] != 0:
                self._say("unaccounted", f"the first tally of {partition} starts at {tally['start']}")
            end, head, chain = tally["end"], record.offset, tally["chain"]
            heads.add(head)
            folded.append((record.offset, tally))
            said_lost, said_ids_ms, _ = tally.get("losses", (0, 0, -1))
            # Less than before is said by who was frozen while more was accepted, and had all the ids.
            if said_lost > lost or (said_ids_ms > ids_from_ms and "acceptance" not in tally):
                self._say("unaccounted", f"tally {record.offset} of {partition} says {said_lost} lost, ids from {said_ids_ms}; {lost}, {ids_from_ms}")
            ids_from_ms = max(ids_from_ms, said_ids_ms)
            if "adjustment" in tally:
                adjustments.take(record.offset, tally)
                for customer, meter, _, _, quantity, _ in tally["rows"]:
                    self._sums.adjusted[tally["customers"][customer], tally["meters"][meter]] += quantity
            elif "acceptance" in tally:
                self._versions.pass_over(tally)
                lost += self._check_acceptance(partition, record.offset, tally, log)
            else:
                self._check_tally(partition, record.offset, tally, log, ids_from_ms)
        if any(log[end or 0 :]):
            self._say("unaccounted", f"records of {partition} from {end} on are in no tally")
        return folded

    def _check_acceptance(self, partition: int, offset: int, tally: dict[str, Any], log: Log) -> int:
        """How many offsets are accepted as lost here: deleted ones, and nothing is said of them but that."""
        where = f"acceptance {offset} of {partition}"
        start, end = tally["start"], tally["end"]
        if start < end and end > self._evidence.kept_from[partition]:
            self._say("phantom", f"{where} takes [{start}, {end}) for lost, which is kept from {self._evidence.kept_from[partition]} on")
        if tally["records"].get("lost", 0) != end - start or any(tally["rows"]) or any(tally["set_aside"]):
            self._say("unaccounted", f"{where} says {tally}")
        for record in log[start:end]:
            if record is None:
                continue
            _, found, claimed = read_record(record)
            if not found and claimed:
                self._garbage[record.value] += 1
            for event in found:
                known = self._known(event)
                if known is not None:
                    self._copies[known.customer, known.digit].lost += 1
        kept_from = self._evidence.kept_from[partition]
        first_kept = next((record.timestamp for record in log[kept_from:] if record is not None), 0)
        newest = max((record.timestamp for record in log[:kept_from] if record is not None), default=0)
        if tally.get("losses", (0, 0))[1] > max(first_kept, newest) + CLOCKS_DIFFER + 1:
            self._say("unaccounted", f"{where} knows ids only from {tally['losses'][1]} on; what is deleted ends at {newest}, or {first_kept}")
        return int(end - start)

    def _check_tally(self, partition: int, offset: int, tally: dict[str, Any], log: Log, ids_from_ms: int) -> None:
        aside = {place: frozenset(indexes) for place, indexes in tally["set_aside"]}
        kinds: Counter[str] = Counter()
        events = dead = 0
        self._windows.clear()
        for place in range(tally["start"], tally["end"]):
            record = log[place]
            if record is None:
                kinds["skipped"] += 1
                continue
            kind, found, claimed = read_record(record)
            kinds[kind] += 1
            events += claimed
            gone = aside.pop(place, None)
            whole = gone is not None and not gone
            dead += claimed if whole else len(gone or ())
            if not found and claimed:
                self._garbage[record.value] += 1
                if not whole:
                    self._say("unaccounted", f"the unreadable record {place} of {partition} was not set aside")
            for index, event in enumerate(found):
                aside_here = whole or (gone is not None and index in gone)
                self._note_copy((partition, record.offset, index), record.timestamp, event, aside=aside_here, ids_from_ms=ids_from_ms)
            if gone is not None:
                self._check_letter(partition, record, gone)
        where = f"tally {offset} of {partition}"
        if aside:
            self._say("unaccounted", f"{where} set aside {sorted(aside)}, which is not in its range")
        if dict(kinds) != {kind: number for kind, number in tally["records"].items() if number}:
            self._say("unaccounted", f"{where} says {tally['records']}, the log {dict(kinds)}")
        self._check_finals(where, partition, tally, log)
        said = tally["events"]
        letters = sum(said["dead_lettered"].values())
        if said["counted"] + said["duplicates"] + said["forwarded"] + letters != events or letters != dead:
            self._say("unaccounted", f"{where} accounts for {said}, the log has {events} events, {dead} of them set aside")
        for customer, meter, _, _, quantity, _ in tally["rows"]:
            account = (tally["customers"][customer], tally["meters"][meter])
            self._sums.tallied[account] += quantity
        for text in row_objections(tally, self._evidence.journal, self._windows):
            self._say("unaccounted", f"{where} {text}")
        self._latest.tally(where, tally, log[tally["start"] : tally["end"]])
        for text in self._versions.objections(tally, log[tally["start"] : tally["end"]], self._evidence.journal):
            self._say("unaccounted", f"{where} {text}")

    def _check_finals(self, where: str, partition: int, tally: dict[str, Any], log: Log) -> None:
        """Which emitters have closed, also such as have sent nothing else."""
        if tally["records"]["heartbeats"] or tally["finals"]:
            finals: dict[str, int] = {}
            for record in log[tally["start"] : tally["end"]]:
                finals |= read_final(record, partition) if record is not None and read_record(record)[0] == "heartbeats" else {}
            if dict(tally["finals"]) != finals:
                self._say("unaccounted", f"{where} says that {tally['finals']} have closed, the log {finals}")

    def _note_copy(self, place: tuple[int, int, int], log_time_ms: int, event: RawEvent, *, aside: bool, ids_from_ms: int) -> None:
        """An event lies at this place (partition, offset, index in the batch)."""
        known = self._known(event)
        partition = place[0]
        if known is None:
            self._say("phantom", f"{event} at {place} was never emitted")
            return
        if not aside:
            self._windows[known.customer, known.digit].add(known.time_in(log_time_ms) // MINUTE * MINUTE)
        if event.number is not None:
            if (partition, event.number) in self._numbers:
                return  # the same batch again: whatever became of its event was decided by the first one
            self._numbers.add((partition, event.number))
        copies = self._copies[known.customer, known.digit]
        if aside:
            copies.aside += 1
            if not (known.has_id and known.time_in(log_time_ms) < ids_from_ms) and not self._may_be_aside(known, event, log_time_ms):
                self._say("unaccounted", f"{known} was set aside at {place} without cause")
        elif partition == known.home:
            copies.home_live += 1
        elif event.number is not None:
            self._say("unaccounted", f"{known} stands in a batch of the wrong partition at {place} and was not set aside")
        else:
            copies.away += 1

    def _may_be_aside(self, known: Emitted, event: RawEvent, log_time_ms: int) -> bool:
        if event.mystery or not known.billable or known.time_in(log_time_ms) > log_time_ms + 5 * MINUTE:
            return True
        if self._evidence.crowded and event.number is not None:
            return True
        if known.time_ms < log_time_ms - (self._evidence.horizon_ms if known.has_id else 35 * DAY):
            return True
        return len(self._groups[known.customer, known.identity, known.has_id]) > 1  # an id used for two contents: one of them is a conflict

    def _check_letter(self, partition: int, record: RawRecord, indexes: frozenset[int]) -> None:
        """What was set aside is in the dead letters, untouched."""
        found: set[int] = set()
        any_letter = False
        for letter, about in self._letters.get((partition, record.offset), ()):
            if letter.value != record.value or not about["reason"]:
                self._say("unaccounted", f"the dead letter of record {record.offset} of {partition} is not what was set aside")
            any_letter = True
            found.update(about["indexes"])
        if not any_letter or not indexes <= found:
            wanted = sorted(indexes) or "all"
            self._say("unaccounted", f"record {record.offset} of {partition}: {wanted} set aside, the dead letters have {sorted(found)}")

    # usage.ledger against usage.tallies

    def _check_ledger(self, partition: int, tallies: list[tuple[int, dict[str, Any] | None]]) -> dict[str, tuple[str, str, int]]:
        """The identifiers that may be sent, with customer, meter and value."""
        end = 0
        identifiers: dict[str, tuple[str, str, int]] = {}
        places: dict[str, tuple[int, int]] = {}
        intents: dict[int, list[tuple[str, str, int]]] = {}
        waiting: list[MeterLine] = []  # what the next intent must take in, besides its tallies
        whole: dict[int, list[MeterLine]] = {}
        postponed: set[tuple[int, int]] = set()
        head = -1
        told = Outcomes()
        for_nobody: set[tuple[int, int]] = set()
        corrections = PartitionCorrections(partition, self._corrections, intents, told.final, self._say)
        for record in self._evidence.ledger[partition]:
            assert record is not None
            entry = orjson.loads(record.value or b"")
            if entry["format"] == "rejection/1":
                corrections.report(entry["identifiers"])
                continue
            if entry["format"] in {"correction/1", "correction/2"}:
                if corrections.correction(record.offset, entry):
                    told.senders[record.offset] = None
                continue
            told.hear(entry, for_nobody)
            if entry["format"] == "receipt/1":
                back = [place for place, outcome in told.final.items() if outcome == POSTPONED and place not in postponed]
                postponed.update(back)
                waiting += [whole[offset][index] for offset, index in back if offset in whole]
                continue
            if entry["start"] != end or (entry["previous"] == -1) != (not intents):
                continue
            if entry["previous"] != head:
                continue
            head = record.offset
            covered = [tally for _, tally in tallies[end : entry["end"]] if tally is not None]
            end = entry["end"]
            events, unbillable = (read_meter_events(entry, name) for name in ("meter_events", "unbillable"))
            carried = read_meter_events(entry, "carried")
            where = f"intent {record.offset} of {partition}"
            self._check_intent(where, covered, events + unbillable + carried, [line for line in waiting if line[1] != LATEST])
            self._latest.intent(where, entry)
            events += [(told.customer, LATEST, told.time_ms, told.value) for told in read_latest(entry, "meter_events")]
            waiting = carried + [(told.customer, LATEST, told.time_ms, told.value) for told in read_latest(entry, "carried")]
            whole[record.offset] = events
            corrections.intent(record.offset, entry)
            told.senders[record.offset] = entry["instance"]
            intents[record.offset] = [(customer, meter, value) for customer, meter, _, value in events]
            for index, event in enumerate(intents[record.offset]):
                identifiers[f"{entry['identifier']}-{index}"] = event
                places[f"{entry['identifier']}-{index}"] = (record.offset, index)
                if entry.get("links", {}).get(event[0]) == "-":
                    for_nobody.add((record.offset, index))
                self._check_billed(f"{entry['identifier']}-{index}", event[0], entry.get("links", {}))
            for customer, meter, _, value in unbillable:
                self._sums.refused[customer, meter] += value
        if any(tally is not None and (tally["rows"] or "latest" in tally) for _, tally in tallies[end:]):
            self._say("unaccounted", f"tallies of {partition} from {end} on are in no intent")
        if waiting:
            self._say("unaccounted", f"{waiting} of {partition} is in no later intent")
        self._check_outcomes(partition, intents, told.final, {place: name for name, place in places.items()}, for_nobody)
        self._accepted |= {name: identifiers[name] for name, place in places.items() if told.final.get(place) in {"accepted", "duplicate"}}
        return identifiers

    def _check_billed(self, identifier: str, customer: str, links: Mapping[str, str]) -> None:
        """Whom the intent names is billed, at every attempt, and the customer was linked to it, if it needs a link. Nobody is for whom nobody is."""
        wanted = links.get(customer, customer)
        if wanted == "-":
            if not (self._evidence.crowded and customer in self._evidence.links):
                self._say("lost-write", f"{identifier} of {customer} is for nobody, and there is place for all who wait for a link")
        elif wanted not in self._evidence.links.get(customer, {customer}):
            self._say("phantom", f"{identifier} of {customer} is planned for {wanted}")
        if told := set(self._evidence.billed.get(identifier, ())) - {wanted}:
            self._say("phantom", f"{identifier} is planned for {wanted}, and was sent for {sorted(told)}")

    def _check_intent(self, where: str, covered: Sequence[dict[str, Any]], events: Sequence[MeterLine], waiting: Sequence[MeterLine]) -> None:
        """The meter events of an intent are its tallies' rows and what waited for it, merged, and no window gives to another, and no billing period.

        Where few are hourly, no hour may give to another. Where only few sums are carried, these may be of a week.
        """
        rows = [
            (tally["customers"][customer], tally["meters"][meter], str(tally["dimensions"][dimensions]), window, quantity)
            for tally in covered
            for customer, meter, dimensions, window, quantity, _ in tally["rows"]
        ]
        rows += [(customer, meter, "", time_ms // MINUTE * MINUTE, value) for customer, meter, time_ms, value in waiting]
        takes_out = any(quantity < 0 for *_, quantity in rows)
        hourly = {(name, meter, dimensions, at // HOUR, self._period_of_minute(name, at)) for name, meter, dimensions, at, _ in rows}
        size = LARGEST_CARRIED if self._evidence.crowded else HOUR if len(hourly) <= HOURLY_MAX else LARGEST
        wanted: Counter[tuple[str, str, int, int]] = Counter()
        for name, meter, _, window, quantity in rows:
            wanted[name, meter, window // size, self._period_of_minute(name, window)] += quantity
        got: Counter[tuple[str, str, int, int]] = Counter()
        for customer, meter, time_ms, value in events:
            period = self._period_at(customer, time_ms)
            got[customer, meter, time_ms // size, period] += value
            # Nobody knows in which of two periods the second of their boundary is. A minute's last second may have to do.
            if period != self._period_at(customer, time_ms - 1) and time_ms % MINUTE != 59_000:
                self._say("unaccounted", f"{where} has a meter event of {customer} at {time_ms}, a boundary")
            if not 0 < (abs(value) if takes_out else value) < 10**15:
                self._say("unaccounted", f"{where} has a meter event of {value}")
        if wanted != got:
            self._say("unaccounted", f"{where} reports {got - wanted} too much and {wanted - got} too little")

    def _period_at(self, customer: str, time_ms: int) -> int:
        return bisect_right(self._evidence.boundaries.get(customer, ()), time_ms // 1000)

    def _period_of_minute(self, customer: str, minute_ms: int) -> int:
        """A minute is of the period in which it begins; that in which the subscription starts is of the first."""
        period = self._period_at(customer, minute_ms)
        return period or min(1, self._period_at(customer, minute_ms + MINUTE - 1))

    def _check_outcomes(
        self,
        partition: int,
        intents: dict[int, list[tuple[str, str, int]]],
        outcomes: dict[tuple[int, int], str],
        names: Mapping[tuple[int, int], str],
        for_nobody: Collection[tuple[int, int]],
    ) -> None:
        for offset, events in intents.items():
            for index, (customer, meter, value) in enumerate(events):
                match outcomes.get((offset, index)):
                    case "rejected" if (offset, index) in for_nobody:
                        self._latest.excuse(customer)
                        self._sums.refused[customer, meter] += value
                    case outcome if (offset, index) in for_nobody:
                        self._say("phantom", f"{names[offset, index]} is for nobody and {outcome}")
                    case "accepted" | "duplicate" | "postponed":
                        pass
                    case "parked" | "unbillable" if meter == LATEST:
                        self._latest.excuse(customer)
                    case "parked":
                        self._sums.parked[customer, meter] += value
                        self._sums.parked_events[names[offset, index]] = (customer, meter), value
                    case "rejected" | "unbillable" as outcome:
                        if outcome == "rejected" and names[offset, index] not in self._evidence.refused:
                            self._say("unaccounted", f"{names[offset, index]} is rejected, and Stripe never refused it")
                        self._sums.refused[customer, meter] += value
                        self._latest.excuse(customer)
                        # A meter is refused until it is back; a customer may stay away for good.
                        if outcome == "rejected" and not customer.startswith(("cus_missing", "cus_later")):
                            self._say("lost-write", f"meter event {index} of intent {offset} of {partition} is given up, for its meter")
                    case other:
                        self._say("unaccounted", f"meter event {index} of intent {offset} of {partition} has outcome {other}")

    # Stripe's books

    def _check_books(self, identifiers: Mapping[str, tuple[str, str, int]]) -> None:
        lines: Counter[str] = Counter()
        for line in self._evidence.books:
            if line.identifier in lines:
                self._say("duplicate", f"Stripe has {line.identifier} twice: {line}")
            lines[line.identifier] += 1
            wanted = identifiers.get(line.identifier) or self._corrections.events.get(line.identifier)
            if wanted != (line.customer, line.meter, line.value):
                self._say("phantom", f"Stripe has {line}, the ledger {wanted}")
            if line.identifier in identifiers:
                self._sums.booked[line.customer, line.meter] += line.value
        # What Stripe accepted and did not record is reported, and waits for somebody to send it again.
        for name, (customer, meter, value) in self._accepted.items():
            if name in self._evidence.dropped and name not in lines:
                self._latest.excuse(customer)
                self._sums.refused[customer, meter] += value
        for name in self._evidence.cancelled:
            if name not in self._corrections.cancels:
                self._say("lost-write", f"Stripe cancelled {name}, and no correction says so")
        for name, (account, value) in self._sums.parked_events.items():
            if account in self._sums.adjusted and name not in lines:
                self._sums.told[account] += value
        for check in self._corrections.checks:
            check.check(lines, self._evidence.cancelled, self._evidence.dropped)
        self._corrections.checks.clear()  # they know how to say something here: that is a circle

    # Every event

    def _check_events(self) -> None:
        customers = {customer for customer, _ in self._evidence.journal.events}
        for sums in (self._sums.tallied, self._sums.booked, self._sums.parked, self._sums.refused):
            for account, total in sums.items():
                if account[1] != LATEST and (account[0] not in customers or account[1] not in METERS or total >= 4**EVENTS_PER_CUSTOMER):
                    self._say("phantom", f"{account} has {total}")
        for value in set(self._evidence.journal.garbage):
            if self._garbage[value] < self._evidence.journal.garbage.count(value):
                self._say("unaccounted", f"{value!r} was acknowledged and is not in the log")
        for twins in self._groups.values():
            for meter in METERS:
                self._check_twins(meter, twins)

    def _check_twins(self, meter: str, twins: Sequence[Emitted]) -> None:
        """Events that share an identity: at most one of them counts, and that one once."""
        counted = 0
        for event in twins:
            copies = self._copies.get((event.customer, event.digit), _Copies())
            if event.acknowledged and not (copies.home_live or copies.aside or copies.away or copies.lost):
                self._say("lost-write", f"{event} was acknowledged and is not in the log")
            if copies.away and not (copies.home_live or copies.aside or copies.lost):
                self._say("lost-write", f"{event} lies in another partition and was not forwarded")
            account = (event.customer, meter)
            tallied, booked, parked, refused = (
                total[account] // event.quantity % 4 for total in (self._sums.tallied, self._sums.booked, self._sums.parked, self._sums.refused)
            )
            told = max(booked, parked) + refused
            counts = tallied
            if account in self._sums.adjusted:
                sums = self._sums
                told = (sums.booked[account] + sums.told[account] + sums.refused[account]) // event.quantity % 4
                tallied, booked = (sums.tallied[account] + sums.adjusted[account]) // event.quantity % 4, told
            name = None
            if not self._versions.bills(event, meter, twins) or not event.billable:
                name = "phantom" if tallied or told else None
            else:
                counted += counts
                if counts > 1 or tallied > 1 or told > 1 or booked > 1:
                    name = "duplicate"
                elif tallied > told or (copies.home_live and not counts and len(twins) == 1):
                    name = "lost-write"
                elif told > tallied:
                    name = "phantom"
            if name is not None:
                told_as = f"tallied {tallied}, in Stripe's books {booked}, parked {parked}, rejected or unbillable {refused}"
                self._say(name, f"{meter} of {event}, {copies}: {told_as}")
        if counted > 1:
            self._say("duplicate", f"{meter} of one identity is counted {counted} times: {twins}")
        live = [
            event
            for event in twins
            if event.billable and self._versions.bills(event, meter, twins) and self._copies[event.customer, event.digit].home_live
        ]
        if live and not counted and all(meter in event.meters for event in twins if event.billable):
            self._say("lost-write", f"{meter} of {live} is not counted")

    def _known(self, event: RawEvent) -> Emitted | None:
        return self._evidence.journal.known(event.customer, event.quantity)
