"""All mappings of a settings file, checked together and compiled, by the paths that their senders post to. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ingest.mappings.compiled_mapping import CompiledMapping
from ingest.mappings.mapping_table import MappingTable, TableReader
from ingest.mappings.presets import tables_of

MAPPINGS_MAX: Final = 64
_OWN_PATHS: Final = ("/v1/events", "/v1/batches")
_NOTHING: Final = ()


@dataclass(frozen=True, slots=True)
class ForeignPath:
    """What is taken at one path: records of a form, each by the mapping of its CloudEvents type or by the only other one.

    A CloudEvent that has no mapping is read as our own.
    """

    path: str
    form: str
    answer: str
    by_type: Mapping[str, CompiledMapping]
    otherwise: CompiledMapping | None

    def mapping_of(self, record: object) -> CompiledMapping | None:
        """The mapping that this record is for."""
        if self.by_type and type(record) is dict:
            kind = record.get("type")
            return self.by_type.get(kind, self.otherwise) if type(kind) is str else self.otherwise
        return self.otherwise


def mapping_problems(document: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the `[[mappings]]` of a settings file."""
    return _read(document)[1]


def foreign_paths(document: Mapping[str, Any]) -> dict[str, ForeignPath]:
    """The paths of a settings file without problems, compiled."""
    tables, problems = _read(document)
    assert not problems, problems
    by_path: dict[str, list[MappingTable]] = {}
    for table in tables:
        by_path.setdefault(table.path, []).append(table)
    return {path: _compiled(path, here) for path, here in by_path.items()}


def _compiled(path: str, tables: Sequence[MappingTable]) -> ForeignPath:
    by_type: dict[str, CompiledMapping] = {}
    otherwise = None
    for table in tables:
        mapping = CompiledMapping(table)
        by_type |= dict.fromkeys(table.types, mapping)
        otherwise = otherwise if table.types else mapping
    first = tables[0]
    return ForeignPath(path, first.form, first.answer, by_type, otherwise)


def _read(document: Mapping[str, Any]) -> tuple[list[MappingTable], list[str]]:
    entries = document.get("mappings", [])
    if not isinstance(entries, list) or len(entries) > MAPPINGS_MAX or not all(isinstance(entry, dict) for entry in entries):
        return [], [f"mappings: must be at most {MAPPINGS_MAX} [[mappings]] tables"]
    found: list[MappingTable] = []
    problems: list[str] = []
    for place, entry in enumerate(entries, start=1):
        where = f"mappings[{place}]"
        tables = tables_of(entry)
        if isinstance(tables, str):
            problems.append(f"{where}.preset: {tables}")
            continue
        for table in tables:
            reader = TableReader(table, where if "preset" not in entry else f"{where} ({table['name']})")
            mapping = reader.read()
            problems += reader.problems
            found += _NOTHING if mapping is None else (mapping,)
    return found, problems + _between(found)


def _between(tables: Sequence[MappingTable]) -> list[str]:
    """What is wrong between mappings that are right for themselves."""
    problems = []
    names: set[str] = set()
    first_at: dict[str, MappingTable] = {}
    taken: set[tuple[str, str | None]] = set()
    for table in tables:
        if table.name in names:
            problems.append(f"mappings {table.name}: is there twice; give each a name")
        names.add(table.name)
        if table.path in _OWN_PATHS:
            problems.append(f"mappings {table.name}.path: {table.path} takes Taximeter's own form")
        first = first_at.setdefault(table.path, table)
        for key in ("form", "answer"):
            if getattr(first, key) != getattr(table, key):
                problems.append(f"mappings {table.name}.{key}: {table.path} has one {key}, and {first.name} says {getattr(first, key)!r}")
        for kind in table.types or (None,):
            if (table.path, kind) in taken:
                problems.append(f"mappings {table.name}: another mapping takes {kind or 'what has no mapping of its own'} at {table.path}")
            taken.add((table.path, kind))
    return problems
