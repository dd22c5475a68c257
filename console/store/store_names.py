"""Customers, meters and sets of dimensions by number, so that rows are integers."""

import sqlite3
from enum import IntEnum
from typing import Final

import orjson
from taximeter_emitter.wire.event import Dimensions

NAMES_HELD_MAX: Final = 200_000


class NameKind(IntEnum):
    """What a name stands for."""

    CUSTOMER = 1
    METER = 2
    DIMENSIONS = 3


class StoreNames:
    """Numbers of names; NAMES_HELD_MAX of them are held in memory, others are looked up."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._held: dict[tuple[int, str], int] = {}

    def number(self, kind: NameKind, name: str) -> int:
        """The number of a name, which it gets now if it has none."""
        found = self._held.get((kind, name))
        if found is None:
            found = self._looked_up(kind, name)
            if len(self._held) >= NAMES_HELD_MAX:
                self._held.clear()
            self._held[kind, name] = found
        return found

    def forget(self) -> None:
        """The transaction that gave numbers was taken back."""
        self._held.clear()

    def _looked_up(self, kind: NameKind, name: str) -> int:
        row = self._connection.execute("SELECT id FROM names WHERE kind = ? AND name = ?", (kind, name)).fetchone()
        if row is not None:
            return int(row[0])
        added = self._connection.execute("INSERT INTO names (kind, name) VALUES (?, ?)", (kind, name)).lastrowid
        assert added is not None
        return added


def dimensions_text(dimensions: Dimensions) -> str:
    """A set of dimensions as JSON, in the order of names."""
    return orjson.dumps(dict(sorted(dimensions))).decode()
