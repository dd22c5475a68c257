"""The store's writer. One thread at a time."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from taximeter_emitter.wire.errors import TaximeterError

from console.folding.spoken_events import SpokenEvent
from console.folding.usage_changes import HOURS_A_DAY, FoldChanges, SpokenPlace, UsageAmounts, UsagePlace
from console.store.fold_places import FoldPlace
from console.store.spoken_rows import spoken_from, spoken_text
from console.store.store_names import NameKind, StoreNames, dimensions_text
from console.store.store_schema import ALL_CUSTOMERS, AMOUNTS, STORE_SCHEMA, TABLES

LINES_KEPT_MAX: Final = 100_000
"""Dead letters, and refused meter events, that are kept one by one: the newest."""

DETAIL_CHARS_MAX: Final = 300
NOBODY: Final[Mapping[SpokenPlace, SpokenEvent]] = {}
_ADDED: Final = ", ".join(f"{name} = {name} + excluded.{name}" for name in AMOUNTS)
_MARKS: Final = ", ".join("?" * len(AMOUNTS))


class StoreUnusable(TaximeterError):
    """The file cannot be opened or written; the message says why."""


class UsageStore:
    """Owns the connection that writes. Every method may raise StoreUnusable, and blocks on the disk.

    `identity` says of which topics of which cluster it is; a store of others, or of another schema, is emptied.
    """

    def __init__(self, path: Path, *, identity: str, kept_from_day: int) -> None:
        self.path = path
        with _explained(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _open(path, identity, kept_from_day)
        self._names = StoreNames(self._connection)
        self.kept_from_day = int(self._about("kept_from_day"))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def place(self, topic: str, partition: int) -> FoldPlace | None:
        """Up to where this is folded; None if nothing is yet."""
        with _explained(self.path):
            row = self._connection.execute("SELECT * FROM places WHERE topic = ? AND partition = ?", (topic, partition)).fetchone()
        return None if row is None else FoldPlace(*row)

    def spoken(self, partition: int) -> Mapping[SpokenPlace, SpokenEvent]:
        """The meter events of a partition that something spoke of."""
        with _explained(self.path):
            rows = self._connection.execute("SELECT offset, at, about FROM spoken WHERE partition = ?", (partition,)).fetchall()
        return {SpokenPlace(offset, at): spoken_from(text) for offset, at, text in rows}

    def intent_at(self, partition: int, first: int, second: int) -> int | None:
        """The offset of the accepted intent whose `place` this is; None if it is older than what is kept, or there is none."""
        with _explained(self.path):
            asked = "SELECT offset FROM intents WHERE partition = ? AND first = ? AND second = ?"
            row = self._connection.execute(asked, (partition, first, second)).fetchone()
        return None if row is None else int(row[0])

    def write(self, place: FoldPlace, before: FoldPlace | None, changes: FoldChanges, spoken: Mapping[SpokenPlace, SpokenEvent] = NOBODY) -> None:
        """Make these changes, and say that the log is folded up to `place`: both, or neither.

        Raises StoreUnusable if it was not folded up to `before`: another console writes the same store.
        """
        with self._transaction() as connection:
            if self.place(place.topic, place.partition) != before:
                raise StoreUnusable(f"another console writes {self.path}: it needs a state_dir of its own")
            self._add_usage(changes.usage)
            connection.executemany(
                "INSERT INTO outcomes VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET events = events + excluded.events",
                [(*key, count) for key, count in changes.outcomes.items() if count],
            )
            self._add_lines(place.partition, changes)
            texts = ((place.partition, *at, spoken_text(spoken[at])) for at in changes.spoken)
            connection.executemany("INSERT OR REPLACE INTO spoken VALUES (?, ?, ?, ?)", texts)
            connection.executemany("INSERT OR REPLACE INTO billed VALUES (?, ?)", changes.billed.items())
            if changes.held is not None:
                connection.execute("DELETE FROM held WHERE partition = ?", (place.partition,))
                connection.executemany("INSERT INTO held VALUES (?, ?, ?, ?, ?)", [(place.partition, *held) for held in changes.held])
            connection.execute("INSERT OR REPLACE INTO places VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", place)

    def keep_from(self, day: int) -> None:
        """Drop all that is older than this UTC day, and take no more of it."""
        if day <= self.kept_from_day:
            return
        with self._transaction() as connection:
            whose = f"(SELECT id FROM names WHERE kind = {NameKind.CUSTOMER:d} UNION SELECT {ALL_CUSTOMERS})"
            connection.execute(f"DELETE FROM hours WHERE customer IN {whose} AND hour < ?", (HOURS_A_DAY * day,))
            connection.execute("DELETE FROM intents WHERE hour < ?", (HOURS_A_DAY * day,))
            connection.execute("DELETE FROM days WHERE day < ?", (day,))
            connection.execute("DELETE FROM outcomes WHERE day < ?", (day,))
            # What is older than every intent that is kept can be found no more, and so is not asked about.
            connection.execute("DELETE FROM spoken WHERE offset < (SELECT min(offset) FROM intents WHERE intents.partition = spoken.partition)")
            for table in ("letters", "refused"):
                connection.execute(f"DELETE FROM {table} WHERE id <= (SELECT max(id) - {LINES_KEPT_MAX} FROM {table})")
            connection.execute("UPDATE about SET value = ? WHERE name = 'kept_from_day'", (str(day),))
        self.kept_from_day = day

    def bytes_used(self) -> int:
        """Of pages that hold something; what was dropped is used again."""
        with _explained(self.path):
            pages, free, size = (self._connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
        return int((pages - free) * size)

    def _add_usage(self, usage: Mapping[UsagePlace, UsageAmounts]) -> None:
        hours: dict[tuple[int, ...], UsageAmounts] = {}
        days: dict[tuple[int, ...], UsageAmounts] = {}
        number, first_hour = self._names.number, HOURS_A_DAY * self.kept_from_day
        for key, amounts in usage.items():
            if key.hour < first_hour or not any(amounts):
                continue
            customer, meter = number(NameKind.CUSTOMER, key.customer), number(NameKind.METER, key.meter)
            what = meter, number(NameKind.DIMENSIONS, dimensions_text(key.dimensions))
            for whose in (customer, ALL_CUSTOMERS):
                for rows, time in ((hours, key.hour), (days, key.hour // HOURS_A_DAY)):
                    place = (whose, time, *what)
                    rows[place] = amounts if place not in rows else rows[place].plus(amounts)
        for table, rows in (("hours", hours), ("days", days)):
            given = [(*place, *amounts) for place, amounts in rows.items()]
            self._connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?, {_MARKS}) ON CONFLICT DO UPDATE SET {_ADDED}", given)

    def _add_lines(self, partition: int, changes: FoldChanges) -> None:
        def add(table: str, rows: Iterable[tuple[object, ...]], *, numbered: bool = False) -> None:
            given = [((None, partition, *row) if numbered else (partition, *row)) for row in rows]
            if given:
                self._connection.executemany(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(given[0]))})", given)

        add("refused", ((*row[:7], row.detail[:DETAIL_CHARS_MAX], row.at_ms) for row in changes.refused), numbered=True)
        add("letters", ((*row[:6], row.detail[:DETAIL_CHARS_MAX], *row[7:]) for row in changes.letters), numbered=True)
        add("intents", changes.intents)
        plans = [(part.plan, partition, *part[1:]) for part in changes.plans]
        self._connection.executemany("INSERT OR IGNORE INTO plans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", plans)

    def _about(self, name: str) -> str:
        with _explained(self.path):
            return str(self._connection.execute("SELECT value FROM about WHERE name = ?", (name,)).fetchone()[0])

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                self._names.forget()
                self._connection.execute("ROLLBACK")
                raise


def remove_store(path: Path) -> None:
    """Delete the file, and what SQLite keeps beside it. It is built again by the next start."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _open(path: Path, identity: str, kept_from_day: int) -> sqlite3.Connection:
    wanted = {"schema": str(STORE_SCHEMA), "identity": identity}
    connection = _connected(path)
    if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        found = {}
        if connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'about'").fetchone()[0]:
            found = dict(connection.execute("SELECT name, value FROM about"))
        else:
            raise StoreUnusable(f"{path} is a database of something else")
        if {name: found.get(name) for name in wanted} == wanted:
            return connection
        connection.close()
        remove_store(path)
        connection = _connected(path)
    connection.executescript("BEGIN IMMEDIATE;" + TABLES)
    connection.executemany("INSERT INTO about VALUES (?, ?)", [*wanted.items(), ("kept_from_day", str(kept_from_day))])
    connection.execute("COMMIT")
    return connection


def _connected(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")  # after a power cut it is a little older, and folds that again
    return connection


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreUnusable(f"the store {path} cannot be used: {error}") from error
