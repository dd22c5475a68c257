"""What must become of events without ids that killed processes emitted: at least what was safe is billed, and at most what was emitted. Pure."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import orjson
from taximeter_sandbox.demo.books import ExpectedBooks

METER: Final = "alpaca_ai_tokens"


def take_in(books: ExpectedBooks, files: Iterable[Path], billed: Mapping[str, int]) -> list[str]:
    """Put into the books what was billed of them, and say what should not have been. Each event has one unit; `billed`: units by customer."""
    problems = []
    for path in files:
        for line in path.read_bytes().splitlines():
            life = orjson.loads(line)
            units = billed.get(life["customer"], 0)
            if not life["safe"] <= units <= life["emitted"]:
                problems.append(f"{life['customer']} emitted {life['emitted']} without ids, {life['safe']} of them safe; {units} are billed")
            books.totals.emitted += life["emitted"]
            books.totals.counted += units
            meter = books.meters[METER]
            meter.emitted += life["emitted"]
            meter.counted += units
            meter.units += units
            if units:
                meter.by_customer[life["customer"]] += units
    return problems
