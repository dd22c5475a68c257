"""What a comparison with Stripe has done so far, in a file, so that it goes on where it was interrupted.

One JSON object a line: first what is compared, then one customer and meter each. The end of a line that was being written is passed over.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import orjson

from metering.reconciliation.cells import CellKey, CellScope, CustomerMeter
from metering.reconciliation.comparison import ComparedCell, Comparison
from metering.records.notes.evidence import CellVerdict

RECONCILED_FORMAT: Final = "taximeter.reconciled/1"


class SavedOtherwise(Exception):
    """The file holds something else than this comparison; the message says what to do."""


class ReconciledFile:
    """Opens or makes the file. Raises SavedOtherwise, and OSError."""

    def __init__(self, path: Path, scope: CellScope) -> None:
        self._done: dict[int, dict[CustomerMeter, list[ComparedCell]]] = {}
        header = {"format": RECONCILED_FORMAT, "from_ms": scope.from_ms, "to_ms": scope.to_ms, "cell_ms": scope.width_ms}
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        whole = lines[:-1]  # behind the last line's end is nothing, or what was being written
        if whole and _parsed(path, whole[0]) != header:
            raise SavedOtherwise(f"{path} is of another comparison: give the same --from, --to and --by, or another file")
        for line in whole[1:]:
            saved = _parsed(path, line)
            pair = CustomerMeter(saved["customer"], saved["meter"])
            self._done.setdefault(saved["partition"], {})[pair] = [_cell(pair, *cell) for cell in saved["cells"]]
        self._file = path.open("r+b" if whole else "wb")
        self._file.truncate(sum(len(line) + 1 for line in whole))
        self._file.seek(0, 2)
        if not whole:
            self._write(header)

    def done(self, partition: int) -> dict[CustomerMeter, list[ComparedCell]]:
        """What was compared of a partition before."""
        return self._done.get(partition, {})

    def add(self, partition: int, pair: CustomerMeter, cells: Sequence[ComparedCell]) -> None:
        """One more customer and meter."""
        told = [(each.key.start_ms, *_values(each.comparison)) for each in cells]
        self._write({"partition": partition, "customer": pair.customer, "meter": pair.meter, "cells": told})

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, document: dict[str, Any]) -> None:
        self._file.write(orjson.dumps(document) + b"\n")
        self._file.flush()


def _values(found: Comparison) -> tuple[str, str, str | None, str, list[str] | None, str]:
    """Numbers as strings: some are beyond 64 bits."""
    stripe = None if found.stripe is None else str(found.stripe)
    taken = None if found.taken is None else [str(value) for value in found.taken]
    return found.verdict.value, str(found.ours), stripe, str(found.difference), taken, found.note


def _cell(pair: CustomerMeter, start: int, *values: Any) -> ComparedCell:
    verdict, ours, stripe, difference, taken, note = values
    numbers = None if taken is None else tuple(int(value) for value in taken)
    comparison = Comparison(CellVerdict(verdict), int(ours), None if stripe is None else int(stripe), int(difference), numbers, note)
    return ComparedCell(CellKey(*pair, start), comparison)


def _parsed(path: Path, line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise SavedOtherwise(f"{path} is not a file that `taximeter reconcile --save` wrote: give another one") from error
