"""The results that are kept in the repository, and shown on its pages: benchmarks/results/latest.json.

A new measurement replaces the kept one of the same path; the rest stays, each row with the commit and the date that it was taken at.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path as Folder
from typing import Any, Final

import orjson

KEPT: Final = Folder(__file__).parent / "results" / "latest.json"


def read_kept(file: Folder = KEPT) -> dict[str, Any]:
    """What was kept; an empty document where nothing was. Raises OSError, orjson.JSONDecodeError."""
    document: dict[str, Any] = orjson.loads(file.read_bytes()) if file.exists() else {"results": [], "curves": []}
    return document


def write_kept(document: Mapping[str, Any], file: Folder = KEPT) -> None:
    """Keep it. Raises OSError."""
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


def merged(kept: Mapping[str, Any], measured: Mapping[str, Any], order: Sequence[str]) -> dict[str, Any]:
    """What is to be kept: `measured` is a document as report.as_json makes it. Rows are in the `order` of the paths."""
    taken = {name: measured[name] for name in ("commit", "date", "machine", "python", "scale")}
    new = [{**row, **taken} for row in measured["results"]]
    replaced = {row["path"] for row in new}
    rows = [row for row in kept["results"] if row["path"] not in replaced] + new
    known = [row for row in rows if row["path"] in order]
    curves = [{**curve, **taken} for curve in measured.get("curves", ())] or kept.get("curves", [])
    about = {name: value for name, value in measured.items() if name not in {"results", "curves"}}
    return {**about, "results": sorted(known, key=lambda row: order.index(row["path"])), "curves": curves}
