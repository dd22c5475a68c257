"""Bodies that real clients sent, and the mappings that read them."""

from pathlib import Path
from typing import Any, Final

import orjson

from ingest.foreign.foreign_bodies import MappedRecords, map_body
from ingest.mappings.foreign_paths import ForeignPath, foreign_paths, mapping_problems

BODIES: Final = Path(__file__).parent.parent / "unit" / "ingest" / "mappings" / "bodies"


def recorded(name: str) -> Any:
    """The JSON of a body, as its client sent it; `client` in the file says which that was."""
    return orjson.loads((BODIES / f"{name}.json").read_bytes())["body"]


def paths_of(*entries: dict[str, Any]) -> dict[str, ForeignPath]:
    """The paths of these `[[mappings]]`."""
    document = {"mappings": list(entries)}
    assert mapping_problems(document) == []
    return foreign_paths(document)


def mapped(path: ForeignPath, body: Any, headers: dict[str, str] | None = None) -> MappedRecords:
    """What a path makes of a body."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return map_body(path, headers or {}, raw, events_max=1_000)
