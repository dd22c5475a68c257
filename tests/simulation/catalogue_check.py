"""By which version of the catalogue each record must be billed, read from the raw topics. Knows nothing of the pipeline."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from tests.simulation.journal import EVENTS_PER_CUSTOMER, Emitted, Journal
from tests.simulation.raw_records import RawRecord

NOTICE_MS = 5 * 60_000  # of the worlds: see bindings
SOMETIMES = "requests"  # the meter that some versions do not have

Free = set[tuple[str, int]]
"""Customers and digits of events that are counted by a version without that meter."""


class VersionsCheck:
    """The publications that count, and what tallies made of them. One for all partitions; `begin` each."""

    def __init__(self, log: Sequence[RawRecord | None]) -> None:
        self.free: Free = set()
        self._versions: list[tuple[int, str, bool]] = []  # from when, which, and whether it has the meter
        self._latest_ms = 0
        head = -1
        for record in log:
            assert record is not None
            document = orjson.loads(record.value or b"")
            starts, first = document["from"], not self._versions
            if document["after"] != head or (starts != 0 if first else starts < max(record.timestamp + NOTICE_MS, self._versions[-1][0] + 1)):
                continue
            head = record.offset
            self._versions.append((starts, document["version"], any(entry[0] == SOMETIMES for entry in document["definition"])))

    def begin(self) -> None:
        """The next partition."""
        self._latest_ms = 0

    def pass_over(self, tally: Mapping[str, Any]) -> None:
        """An accepted tally that counts no record."""
        self._latest_ms = max(self._latest_ms, tally["log_time"])

    def objections(self, tally: Mapping[str, Any], records: Sequence[RawRecord | None], journal: Journal) -> Iterator[str]:
        """What is wrong with the version of an accepted tally, which counts these records, and with what it bills by it; in sentences."""
        wanted = [] if any(records) else [self._in_force()]
        for record in records:
            if record is not None:
                self._latest_ms = max(self._latest_ms, record.timestamp)
                wanted.append(self._in_force())
        for _, version, _ in wanted:
            if version != tally["catalogue"]:
                yield f"counts by version {tally['catalogue']}, and {version} is in force for one of its records"
                return
        is_metered = wanted[0][2]
        tokens, requests = (set(_events_of(tally, meter)) for meter in ("tokens", SOMETIMES))
        known = {key: journal.events[key] for key in tokens if key in journal.events}
        metered = {key for key, event in known.items() if SOMETIMES in event.meters}
        if not is_metered:
            self.free |= metered
        if requests != (metered if is_metered else set()):
            yield f"bills {sorted(requests)} of {SOMETIMES}, and its version bills {sorted(metered) if is_metered else 'none'}"

    def bills(self, event: Emitted, meter: str, twins: Sequence[Emitted]) -> bool:
        """Whether an event adds to this meter. None of some that share an identity does if the one that counts was free."""
        return meter in event.meters and not (meter == SOMETIMES and any((each.customer, each.digit) in self.free for each in twins))

    def _in_force(self) -> tuple[int, str, bool]:
        return next(version for version in reversed(self._versions) if version[0] <= self._latest_ms)


def _events_of(tally: Mapping[str, Any], meter: str) -> Iterator[tuple[str, int]]:
    for customer, found, _, _, quantity, _ in tally["rows"]:
        if tally["meters"][found] != meter:
            continue
        name = tally["customers"][customer]
        yield from ((name, digit) for digit in range(EVENTS_PER_CUSTOMER) if quantity >> 2 * digit & 3)
