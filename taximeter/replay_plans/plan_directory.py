"""A plan as a directory: its header, and for each partition that was read a file of parts and a file that says how far it is.

    draft.json            the header without parts, from the moment when planning begins
    partition-3.parts     one part a line; only ever appended to
    partition-3.state     up to where the partition is derived, and how long the file of parts was then; replaced as a whole
    header.json           the header: it is there when the plan is complete
    shown.json            how much of it could not be billed when it was first shown

So planning may be interrupted at any point: what is in a file of parts behind the length that the state names is cut off.
"""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import orjson

from audit.adjustments.plan_derivation import DerivationCounts, DerivedPart
from audit.recount.left_out import LeftOut
from metering.plans.current_period import BroughtForward
from metering.plans.plan_header import PlanHeader, header_from
from metering.process.atomic_files import write_atomically
from metering.records.adjustment import AdjustedRow, part_digest
from metering.records.fail_closed import RecordCorrupt
from taximeter.refusal_commands.plan_file import CORRECTIONS_FILE

DRAFT_FILE: Final = "draft.json"
HEADER_FILE: Final = "header.json"
SHOWN_FILE: Final = "shown.json"
_COUNTS: Final = ("tallies", "records", "events", "selected", "counted", "taken_before", "unreadable", "unknown_tallies")


class PlanUnusable(Exception):
    """The directory is not, or not yet, a plan; the message says what to do."""


class StoredPart(NamedTuple):
    """A part in a file: the digest of its rows, and where its line begins."""

    moved: bool
    digest: str
    file: Path
    position: int


@dataclass(slots=True)
class PartitionState:
    """How far one partition is: derived up to the offset `end` of usage.events. `stays` and `moves` are sums that are in no part yet."""

    end: int
    length: int = 0
    is_done: bool = False
    stays: Sequence[AdjustedRow] = ()
    moves: Sequence[AdjustedRow] = ()
    counts: DerivationCounts = field(default_factory=DerivationCounts)
    brought: BroughtForward = field(default_factory=BroughtForward)


class PlanDirectory:
    """Reads and writes the files. Every method may raise OSError, and PlanUnusable for files that this program did not write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, draft: PlanHeader) -> None:
        """Make it. Raises PlanUnusable if there is something already."""
        if self.path.exists() and any(self.path.iterdir()):
            raise PlanUnusable(f"{self.path} is not empty: go on with --resume {self.path}, or give another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path / DRAFT_FILE, draft.text, sync=True)

    def draft(self) -> PlanHeader:
        """What was asked for. Raises PlanUnusable if it is no plan."""
        return self._read(DRAFT_FILE, "no plan was begun there")

    def header(self) -> PlanHeader:
        """The complete plan. Raises PlanUnusable if it is not complete."""
        if not (self.path / HEADER_FILE).exists() and (self.path / DRAFT_FILE).exists():
            raise PlanUnusable(f"{self.path} is not complete: taximeter replay plan --resume {self.path}")
        if (self.path / CORRECTIONS_FILE).exists():
            raise PlanUnusable(f"{self.path} holds corrections, which Stripe's sums ask for: taximeter correct --apply {self.path}")
        return self._read(HEADER_FILE, "no plan is there")

    @property
    def is_complete(self) -> bool:
        """Whether the header is written."""
        return (self.path / HEADER_FILE).exists()

    def finish(self, header: PlanHeader) -> None:
        """Write the header: the plan is complete."""
        write_atomically(self.path / HEADER_FILE, header.text, sync=True)

    def note_unbilled(self, rows: int) -> None:
        """How many rows could not be billed when the plan was first shown; later calls change nothing."""
        if self.unbilled_rows() is None:
            write_atomically(self.path / SHOWN_FILE, orjson.dumps({"unbilled_rows": rows}))

    def unbilled_rows(self) -> int | None:
        """What `note_unbilled` noted; None before that."""
        try:
            return int(orjson.loads((self.path / SHOWN_FILE).read_bytes())["unbilled_rows"])
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise PlanUnusable(f"{self.path / SHOWN_FILE} is damaged: plan again") from error

    def parts_file(self, partition: int) -> Path:
        """The parts that were derived from this partition."""
        return self.path / f"partition-{partition}.parts"

    def state(self, partition: int) -> PartitionState | None:
        """How far it is; None if it was not begun."""
        try:
            document = orjson.loads((self.path / f"partition-{partition}.state").read_bytes())
            return PartitionState(
                document["end"],
                document["length"],
                document["is_done"],
                rows_from(document["stays"]),
                rows_from(document["moves"]),
                counts_from(document["counts"]),
                _brought_from(document["brought"]),
            )
        except FileNotFoundError:
            return None
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise PlanUnusable(f"{self.path}: the state of partition {partition} is damaged ({error!r}): plan again") from error

    def write_state(self, partition: int, state: PartitionState) -> None:
        """Replace it."""
        document = {
            "end": state.end,
            "length": state.length,
            "is_done": state.is_done,
            "stays": state.stays,
            "moves": state.moves,
            "counts": counts_document(state.counts),
            "brought": {"customers": sorted(state.brought.customers), "units": {meter: str(units) for meter, units in state.brought.units.items()}},
        }
        write_atomically(self.path / f"partition-{partition}.state", orjson.dumps(document))

    def totals(self) -> tuple[DerivationCounts, BroughtForward]:
        """Over all partitions."""
        counts, brought = DerivationCounts(), BroughtForward()
        for partition in self.draft().ranges:
            state = self.state(partition)
            if state is not None:
                counts.add(state.counts)
                brought.add(state.brought)
        return counts, brought

    def parts(self, header: PlanHeader, home: int | None) -> dict[int, list[StoredPart]]:
        """The parts by the partition in which they are written, in order: its own, then what is moved there (`home`), by the partition read."""
        found: dict[int, list[StoredPart]] = {}
        moved: list[StoredPart] = []
        for partition in sorted(header.ranges):
            for part in self._lines(partition):
                if part.moved:
                    moved.append(part)
                else:
                    found.setdefault(partition, []).append(part)
        if moved:
            if home is None:
                raise PlanUnusable(f"{self.path} moves usage to nobody: plan again")
            found.setdefault(home, []).extend(moved)
        return dict(sorted(found.items()))

    def rows(self, part: StoredPart) -> Sequence[AdjustedRow]:
        """The rows of a part."""
        with part.file.open("rb") as file:
            file.seek(part.position)
            return rows_from(orjson.loads(file.readline())["rows"])

    def _lines(self, partition: int) -> Iterator[StoredPart]:
        file = self.parts_file(partition)
        if not file.exists():
            return
        with file.open("rb") as lines:
            position = 0
            for line in lines:
                try:
                    document = orjson.loads(line)
                    yield StoredPart(document["moved"], document["digest"], file, position)
                except (orjson.JSONDecodeError, KeyError, TypeError) as error:
                    raise PlanUnusable(f"{file} is damaged at byte {position}: plan again") from error
                position += len(line)

    def _read(self, name: str, otherwise: str) -> PlanHeader:
        try:
            return header_from((self.path / name).read_text())
        except FileNotFoundError:
            raise PlanUnusable(f"{self.path}: {otherwise}") from None
        except RecordCorrupt as error:
            raise PlanUnusable(f"{self.path / name}: {error}") from error


class PartWriter:
    """Appends the parts of one partition. Opens at a length, and cuts off what is behind it."""

    def __init__(self, file: Path, length: int) -> None:
        self._file: IO[bytes] = file.open("r+b" if file.exists() else "w+b")
        self._file.truncate(length)
        self._file.seek(length)
        self.length = length

    def add(self, part: DerivedPart) -> None:
        """One more part."""
        line = orjson.dumps({"moved": part.moved, "digest": part_digest(part.rows), "rows": part.rows}) + b"\n"
        self._file.write(line)
        self.length += len(line)

    def sync(self) -> None:
        """Wait until the disk has all of it."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@contextmanager
def direct_parts(directory: PlanDirectory, partition: int) -> Iterator[tuple[Callable[[DerivedPart], None], BroughtForward]]:
    """Takes all parts of a partition that needs no derivation, and what of them is brought forward; it is done at the end of the block."""
    writer, brought = PartWriter(directory.parts_file(partition), 0), BroughtForward()
    try:
        yield writer.add, brought
        writer.sync()
    finally:
        writer.close()
    directory.write_state(partition, PartitionState(0, writer.length, is_done=True, brought=brought))


def rows_from(document: Sequence[Any]) -> list[AdjustedRow]:
    """Rows from their JSON."""
    return [
        (customer, meter, tuple((key, text) for key, text in pairs), window_ms, quantity, events)
        for customer, meter, pairs, window_ms, quantity, events in document
    ]


def counts_document(counts: DerivationCounts) -> dict[str, Any]:
    """For JSON."""
    return {name: getattr(counts, name) for name in _COUNTS} | {"left_out": {why.name: number for why, number in counts.left_out.items()}}


def _brought_from(document: dict[str, Any]) -> BroughtForward:
    units = Counter({meter: int(number) for meter, number in document["units"].items()})
    return BroughtForward(set(document["customers"]), units)


def counts_from(document: dict[str, Any]) -> DerivationCounts:
    """From its JSON."""
    counts = DerivationCounts(**{name: document[name] for name in _COUNTS})
    counts.left_out.update({LeftOut[name]: number for name, number in document["left_out"].items()})
    return counts
