"""The checker's own reading of corrections: which are accepted, whether they were allowed, and what Stripe must have in the end for each target."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Event = tuple[str, str, int]
"""Customer, meter, value."""
Place = tuple[int, int]
"""Offset of an intent or correction, and index in it."""

TAKEN = ("accepted", "duplicate")
REFUSED = ("rejected", "unbillable")
POSTPONED = "postponed"


@dataclass(slots=True)
class Outcomes:
    """The final outcomes of a partition, as receipts tell them: a refusal counts only from who alone could send, and had said so before.

    `senders`: who sends what is at an offset; None of a correction that nobody wrote behind yet, "several" where more than one may.
    """

    final: dict[Place, str] = field(default_factory=dict)
    senders: dict[int, str | None] = field(default_factory=dict)

    def hear(self, entry: Mapping[str, Any], for_nobody: Collection[Place]) -> None:
        """An intent, accepted or not, or a receipt. What is for nobody is sent by none, so that anybody may say that it was refused."""
        writer = entry["instance"]
        for offset, sender in self.senders.items():
            if sender not in {None, writer}:
                self.senders[offset] = "several"
        for offset, index, outcome, _, _ in entry.get("settlements", ()):
            doubted = outcome in {*REFUSED, POSTPONED} and self.senders.get(offset) != writer and (offset, index) not in for_nobody
            if outcome != "unknown":
                self.final.setdefault((offset, index), "parked" if doubted else outcome)
        for offset, sender in self.senders.items():
            if sender is None:
                self.senders[offset] = writer


@dataclass(slots=True)
class CorrectionBook:
    """The accepted corrections of all partitions, as Stripe must have them."""

    events: dict[str, Event] = field(default_factory=dict)  # what may be sent, by its identifier
    cancels: set[str] = field(default_factory=set)  # which meter events may be cancelled
    checks: list["PartitionCorrections"] = field(default_factory=list)


class PartitionCorrections:
    """One partition's corrections, read in log order beside its intents and receipts, which the checker reads itself.

    `intents` and `outcomes` are the checker's: what it has read so far, by offset and by place.
    """

    def __init__(
        self,
        partition: int,
        book: CorrectionBook,
        intents: Mapping[int, Sequence[Event]],
        outcomes: Mapping[Place, str],
        say: Callable[[str, str], None],
    ) -> None:
        self._partition = partition
        self._book = book
        self._intents = intents
        self._outcomes = outcomes
        self._say = say
        self._prefixes: dict[int, str] = {}
        self._fold = (-1, -1, -1, -1)
        self._reported: set[str] = set()
        self._by_target: dict[Place, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        book.checks.append(self)

    def intent(self, offset: int, entry: Mapping[str, Any]) -> None:
        """An accepted intent."""
        self._fold = (offset, entry["end"], entry["tally_head"], entry["events_end"])
        self._prefixes[offset] = entry["identifier"]

    def report(self, identifiers: Collection[str]) -> None:
        """Stripe says that it did not record these."""
        self._reported.update(identifiers)

    def correction(self, offset: int, entry: dict[str, Any]) -> bool:
        """Whether the correction at this offset is accepted; checks then that it was allowed."""
        if entry["offset"] != offset or tuple(entry[name] for name in ("chain_head", "chain_end", "tally_head", "events_end")) != self._fold:
            return False
        where = f"correction {offset} of {self._partition}, {entry['kind']} of {entry['target']}"
        target = (entry["intent"], entry["index"])
        event = (entry["customer"], entry["meter"], entry["value"])
        events = self._intents.get(entry["intent"], ())
        if entry["index"] >= len(events) or events[entry["index"]] != event or entry["target"] != self._name(target):
            self._say("phantom", f"{where} is of nothing that was intended")
            return True
        if any(self._stands(*other) for other in self._by_target[target]):
            self._say("duplicate", f"{where} is not the first")
        outcome = self._outcomes.get(target)
        if entry["kind"] != "resend" and (outcome not in TAKEN or entry["target"] in self._reported):
            self._say("lost-write", f"{where} takes back what is {outcome}")
        if entry["kind"] == "resend" and outcome != "rejected" and not (outcome in TAKEN and entry["target"] in self._reported):
            self._say("duplicate", f"{where} sends again what is {outcome}")
        self._by_target[target].append((offset, entry))
        if entry["kind"] == "cancel":
            self._book.cancels.add(entry["target"])
        else:
            customer, meter, value = event
            self._book.events[self._own(offset, entry)] = (customer, meter, -value if entry["kind"] == "negate" else value)
        return True

    def check(self, lines: Counter[str], cancelled: Collection[str], dropped: Collection[str]) -> None:
        """In the end: every correction has an outcome that is true, and each target is with Stripe once or not at all, as it was last wanted."""
        for target, found in self._by_target.items():
            name = self._name(target)
            for offset, entry in found:
                self._check_outcome(offset, entry, name in cancelled if entry["kind"] == "cancel" else self._own(offset, entry) in lines, dropped)
            negated = sum(lines[self._own(offset, entry)] for offset, entry in found if entry["kind"] == "negate")
            again = sum(lines[self._own(offset, entry)] for offset, entry in found if entry["kind"] == "resend")
            # Taken back before Stripe said that it had not recorded it: nobody could know.
            allowed = {0, 1, -1} if name in dropped and negated else {0, 1}
            net = lines[name] * (name not in cancelled) - negated + again
            standing = [(offset, entry) for offset, entry in found if self._stands(offset, entry)]
            if standing and self._outcomes.get((standing[0][0], 0)) in TAKEN:
                allowed &= {1} if standing[0][1]["kind"] == "resend" else {0, -1}
            if net not in allowed:
                self._say("duplicate" if net > max(allowed) else "lost-write", f"Stripe has {name} {net} times after {found}")

    def _check_outcome(self, offset: int, entry: dict[str, Any], there: bool, dropped: Collection[str]) -> None:
        outcome = self._outcomes.get((offset, 0))
        what = f"correction {offset} of {self._partition}, {entry['kind']} of {entry['target']}"
        lost = {entry["target"], self._own(offset, entry)} & set(dropped)
        if outcome is None:
            self._say("unaccounted", f"{what} has no outcome")
        elif outcome in TAKEN and not there and not lost:
            self._say("lost-write", f"{what} is {outcome}, and Stripe knows nothing of it")
        elif outcome in REFUSED and there and entry["kind"] != "cancel":
            self._say("duplicate", f"{what} is {outcome}, and Stripe has it")

    def _stands(self, offset: int, entry: dict[str, Any]) -> bool:
        return self._outcomes.get((offset, 0)) not in REFUSED and self._own(offset, entry) not in self._reported

    def _name(self, target: Place) -> str:
        return f"{self._prefixes[target[0]]}-{target[1]}"

    def _own(self, offset: int, entry: Mapping[str, Any]) -> str:
        return f"tm-{entry['chain']}-{self._partition}-c{offset}"
