"""The plan of an import as a directory: what is brought in and how it is read, and how far it is.

import.json       what was planned; it is there when the plan is complete
invalid.ndjson    everything that is no event: place, reason, field and detail
written.json      up to which number the events of each import are in usage.events, by partition, as far as this machine knows
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import orjson

from metering.plans.import_records import ImportedContent
from metering.process.atomic_files import write_atomically

IMPORT_FILE: Final = "import.json"
INVALID_FILE: Final = "invalid.ndjson"
INVALID_LISTED_MAX: Final = 100_000
_WRITTEN_FILE: Final = "written.json"
_SCHEMA: Final = "taximeter.import/1"


class ImportPlanUnusable(Exception):
    """The directory is not, or not yet, the plan of an import; the message says what to do."""


@dataclass(frozen=True, slots=True)
class PlannedContent:
    """One file, or one partition of a topic. `path` and `format_name` are of a file; `entries` and `mistakes` are what the plan found."""

    content: ImportedContent
    path: str
    format_name: str
    entries: int
    mistakes: int


@dataclass(frozen=True, slots=True)
class PlannedImport:
    """What `taximeter replay apply` does, and nothing else: how the contents are read, too."""

    contents: Sequence[PlannedContent]
    columns: Sequence[tuple[str, str]]
    source: str
    partitions: int
    planned_ms: int

    @property
    def mistakes(self) -> int:
        """Entries that are no events."""
        return sum(each.mistakes for each in self.contents)


class ImportDirectory:
    """Reads and writes the files. Every method may raise OSError, and ImportPlanUnusable for files that this program did not write."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def holds_import(self) -> bool:
        """Whether it is the plan of an import, and complete."""
        return (self.path / IMPORT_FILE).exists()

    def begin(self) -> IO[bytes]:
        """Make it; returns the file for what is invalid. Raises ImportPlanUnusable if there is something already."""
        if self.path.exists() and any(self.path.iterdir()):
            raise ImportPlanUnusable(f"{self.path} is not empty: give another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        return (self.path / INVALID_FILE).open("wb")

    def finish(self, planned: PlannedImport, summary: Mapping[str, Any]) -> None:
        """Write the plan."""
        document = {
            "schema": _SCHEMA,
            "contents": [
                {
                    "kind": each.content.kind,
                    "name": each.content.name,
                    "digest": each.content.digest,
                    "partition": each.content.partition,
                    "start": each.content.start,
                    "end": each.content.end,
                    "path": each.path,
                    "format": each.format_name,
                    "entries": each.entries,
                    "mistakes": each.mistakes,
                }
                for each in planned.contents
            ],
            "columns": planned.columns,
            "source": planned.source,
            "partitions": planned.partitions,
            "planned_ms": planned.planned_ms,
            "summary": summary,
        }
        write_atomically(self.path / IMPORT_FILE, orjson.dumps(document, option=orjson.OPT_INDENT_2), sync=True)

    def plan(self) -> tuple[PlannedImport, Mapping[str, Any]]:
        """What was planned, and what it was found to come to."""
        try:
            document = orjson.loads((self.path / IMPORT_FILE).read_bytes())
            if document["schema"] != _SCHEMA:
                raise ImportPlanUnusable(f"{self.path / IMPORT_FILE} has the form {document['schema']!r}; this version reads {_SCHEMA}")
            contents = [
                PlannedContent(
                    ImportedContent(each["kind"], each["name"], each["digest"], each["partition"], each["start"], each["end"]),
                    each["path"],
                    each["format"],
                    each["entries"],
                    each["mistakes"],
                )
                for each in document["contents"]
            ]
            columns = [(column, field) for column, field in document["columns"]]
            planned = PlannedImport(contents, columns, document["source"], document["partitions"], document["planned_ms"])
            return planned, document["summary"]
        except FileNotFoundError:
            raise ImportPlanUnusable(f"{self.path} is not the plan of an import") from None
        except (KeyError, TypeError, ValueError) as error:
            raise ImportPlanUnusable(f"{self.path / IMPORT_FILE} is damaged ({error!r}): plan again") from error

    def written(self, key: str, partitions: int) -> list[int]:
        """The number after the last that is in usage.events, by partition. What cannot be read is nothing: it is then written again."""
        try:
            found = orjson.loads((self.path / _WRITTEN_FILE).read_bytes())[key]
            return [int(number) for number in found] if len(found) == partitions else [0] * partitions
        except (OSError, KeyError, TypeError, ValueError):
            return [0] * partitions

    def note_written(self, key: str, following: Sequence[int]) -> None:
        """Keep how far an import is."""
        try:
            known = orjson.loads((self.path / _WRITTEN_FILE).read_bytes())
        except (OSError, ValueError):
            known = {}
        write_atomically(self.path / _WRITTEN_FILE, orjson.dumps({**known, key: list(following)}))
