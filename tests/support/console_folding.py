"""The console's followers on logs in memory, and what their store says, by name."""

import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from console.following.ledger_follower import LedgerFollower
from console.following.letter_follower import LetterFollower
from console.following.store_thread import StoreThread
from console.following.tally_follower import TallyFollower
from console.store.store_schema import ALL_CUSTOMERS, AMOUNTS
from console.store.usage_store import UsageStore
from metering.kafka.chain_records import PartitionPlace
from metering.records.record import Record
from tests.support.metering_memory_log import MemoryLog

TOPICS = ("tallies", "ledger", "deadletters")

PartitionLogs = Mapping[str, Sequence[Record | None]]
"""The records of one partition by topic."""


class MemoryConsole:
    """Follows partitions whose logs are given, up to where they are shown. The store is `path`."""

    def __init__(self, path: Path, logs: Sequence[PartitionLogs], *, kept_from_day: int = 0) -> None:
        self.store = StoreThread(UsageStore(path, identity="test", kept_from_day=kept_from_day))
        self._logs = logs
        self._memories = [MemoryLog() for _ in logs]
        self._followers: list[TallyFollower | LedgerFollower | LetterFollower] = []
        for partition, memory in enumerate(self._memories):
            memory.topics.update({topic: [] for topic in TOPICS})
            self._followers.append(TallyFollower(memory, PartitionPlace("tallies", partition), self.store, 0))
            self._followers.append(LedgerFollower(memory, memory, PartitionPlace("ledger", partition), self.store, 0))
            self._followers.append(LetterFollower(memory, PartitionPlace("deadletters", partition), self.store, 0))

    def show(self, part: float) -> None:
        """This part of each log is there from now on."""
        for memory, logs in zip(self._memories, self._logs, strict=True):
            for topic in TOPICS:
                log = logs[topic]
                memory.topics[topic] = list(log[: round(part * len(log))])

    async def read_on(self) -> None:
        """Fold all that is there."""
        for follower in self._followers:
            await follower.read_on()

    async def close(self) -> None:
        """End as a process does."""
        await self.store.close()


def contents(path: Path) -> dict[str, list[Any]]:
    """All that the store says, by name and in one order."""
    connection = sqlite3.connect(path)
    try:
        usage = {table: _rows(connection, table, "c.name", "JOIN names c ON c.id = customer") for table in ("hours", "days")}
        for table, rows in usage.items():
            assert _sums(_rows(connection, table, "'all'", f"WHERE customer = {ALL_CUSTOMERS}")) == _sums(rows)
        others = {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}").fetchall(), key=repr)
            for table, columns in {
                "outcomes": "*",
                "places": "*",
                "plans": "*",
                "held": "*",
                "intents": "*",
                "spoken": "*",
                "refused": "partition, intent, at, customer, meter, time_ms, value, outcome, detail, at_ms",
                "letters": "partition, offset, origin, first, reason, events",
            }.items()
        }
        return usage | others
    finally:
        connection.close()


def _rows(connection: sqlite3.Connection, table: str, customer: str, narrowed: str) -> list[Any]:
    chosen = f"SELECT {table}.*, {customer} AS whose FROM {table} {narrowed}"
    return connection.execute(
        f"SELECT whose, m.name, d.name, {table[:-1]}, {', '.join(AMOUNTS)} FROM ({chosen}) JOIN names m ON m.id = meter"
        f" JOIN names d ON d.id = dimensions WHERE {' OR '.join(f'{name} != 0' for name in AMOUNTS)} ORDER BY 1, 2, 3, 4"
    ).fetchall()


def _sums(rows: Sequence[Any]) -> dict[Any, list[int]]:
    """By meter, dimensions and time, of all customers."""
    found: dict[Any, list[int]] = {}
    for _, *what, counted, adjusted, events, planned, still_open, told, doubt, refused in rows:
        amounts = (counted, adjusted, events, planned, still_open, told, doubt, refused)
        found[tuple(what)] = [mine + more for mine, more in zip(found.get(tuple(what), [0] * len(amounts)), amounts, strict=True)]
    return {key: sums for key, sums in found.items() if any(sums)}
