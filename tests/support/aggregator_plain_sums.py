"""Columns of plain events and their sums."""

from typing import Any

import numpy as np
import orjson

from aggregator.ids.identities import Identities
from aggregator.reading.plain_events import PlainColumns, PlainEvents
from aggregator.sums.plain_sums import PlainSums
from aggregator.sums.rows import Rows
from metering.records.meters import Catalogue, Meter
from metering.records.record import Record
from metering.records.tally import TallyRow

CATALOGUE = Catalogue([Meter("tokens", ("input", "output"), ("model",)), Meter("calls", ("calls",))])


def event(customer: str, model: str, minute: int, usage: dict[str, int]) -> dict[str, Any]:
    time = f"2026-11-22T10:{minute:02}:30.000Z"
    return {"id": "q", "source": "s", "time": time, "customer": customer, "usage": usage, "dimensions": {"model": model}}


def columns(plain: PlainEvents, documents: list[dict[str, Any]]) -> PlainColumns:
    records = [Record(offset, 0, None, orjson.dumps(document)) for offset, document in enumerate(documents)]
    none = np.zeros(len(documents), np.int64)
    odd, found = plain.read(records, none, none, np.full(len(documents), 2**60))
    assert not odd
    assert found is not None
    return found


def sums() -> tuple[PlainEvents, PlainSums, Rows]:
    plain = PlainEvents(CATALOGUE.usage_fields, lambda _: True, Identities(b""))
    return plain, PlainSums(CATALOGUE, plain), Rows(CATALOGUE)


def by_key(rows: Rows) -> list[TallyRow]:
    return sorted(rows.take(), key=lambda row: (row.customer, row.meter, row.dimensions, row.window_start_ms))
