"""`taximeter mappings try`: what a body becomes at the gateway.

By [[mappings]] and [[meters]] of the settings file. Sends nothing.
"""

import argparse
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ingest.foreign.foreign_bodies import PROTOBUF, MappedRecords, map_body
from ingest.mappings.foreign_paths import ForeignPath, foreign_paths, mapping_problems
from ingest.refusals import RequestRefused
from ingest.requests.bodies import JSON, BodyReader, Rejected, Unmapped
from metering.configuration.settings import SettingsError
from metering.process.service_command import load_configuration
from metering.records.meters import Catalogue, catalogue_of, catalogue_problems
from taximeter.exit_codes import DISCREPANCY, OK, USAGE
from taximeter.stripe_commands.running import print_json

TRIED_SCHEMA: Final = "taximeter.tried-body/1"
_BODY_BYTES_MAX: Final = 16 * 1024 * 1024
_RECORDS_MAX: Final = 10_000


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every record becomes an event or is left out; 2 when one is refused."""
    try:
        file = load_configuration({}, environ=os.environ, file=arguments.config, check_file=_problems).file
        body = _read(arguments.body)
        paths = _paths(arguments, file)
        path, mapped = _chosen(paths, body)
    except SettingsError as error:
        print(*(f"taximeter: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        return USAGE
    except (OSError, RequestRefused) as error:
        print(f"taximeter: {arguments.body}: {error}", file=sys.stderr)
        return USAGE
    found = _judged(path, mapped, catalogue_of(file) if file.get("meters") or file.get("rate_cards") else None)
    if arguments.json:
        print_json({"schema": TRIED_SCHEMA, **found})
    else:
        _show(found)
    return DISCREPANCY if any(record["status"] != "event" for record in found["records"]) else OK


def _problems(document: Mapping[str, Any]) -> list[str]:
    """Without a settings file there are no meters to judge by, and presets can be tried all the same."""
    meters = catalogue_problems(document) if document.get("meters") or document.get("rate_cards") else []
    return [*meters, *mapping_problems(document)]


def _paths(arguments: argparse.Namespace, file: Mapping[str, Any]) -> Mapping[str, ForeignPath]:
    document: Mapping[str, Any] = file if arguments.preset is None else {"mappings": [{"preset": arguments.preset}]}
    problems = mapping_problems(document)
    if problems:
        raise SettingsError(problems)
    paths = foreign_paths(document)
    if arguments.path is not None:
        paths = {path: each for path, each in paths.items() if path == arguments.path}
    if not paths:
        where = f"at {arguments.path}" if arguments.path else "in the settings file"
        raise SettingsError([f"there is no mapping {where}; --preset names one"])
    return paths


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read(_BODY_BYTES_MAX)
    with Path(name).open("rb") as file:
        return file.read(_BODY_BYTES_MAX)


def _chosen(paths: Mapping[str, ForeignPath], body: bytes) -> tuple[ForeignPath, MappedRecords]:
    """The first path at which the body makes an event, else the first that can read it. Raises RequestRefused if none can."""
    refusal: RequestRefused | None = None
    readable: list[tuple[ForeignPath, MappedRecords]] = []
    for path in paths.values():
        is_json = body.lstrip()[:1] in {b"{", b"["}
        try:
            mapped = map_body(path, {"content-type": JSON if is_json else PROTOBUF}, body, events_max=_RECORDS_MAX)
        except RequestRefused as refused:
            refusal = refused
            continue
        if any(mapping is not None and type(document) is dict for mapping, document in zip(mapped.mappings, mapped.documents, strict=True)):
            return path, mapped
        readable.append((path, mapped))
    if not readable:
        assert refusal is not None, "there is a path"
        raise refusal
    return readable[0]


def _judged(path: ForeignPath, mapped: MappedRecords, catalogue: Catalogue | None) -> dict[str, Any]:
    """What becomes of each record, by the meters too if there are some."""
    rejected: dict[int, Rejected] = {}
    unknown: Mapping[str, int] = {}
    if catalogue is not None:
        reader = BodyReader(catalogue, events_max=_RECORDS_MAX)
        read = reader.read_documents(mapped.documents, now_ms=time.time_ns() // 1_000_000)
        rejected = {each.index: each for each in read.rejected}
        unknown = reader.unknown_usage(read)
    records = []
    for index, (mapping, document) in enumerate(zip(mapped.mappings, mapped.documents, strict=True)):
        refused = rejected.get(index)
        if refused is None and type(document) is Unmapped:
            why = document.refusal
            refused = Rejected(index, document.event_id, why.reason, why.field, why.detail)
        name = None if mapping is None else mapping.name
        if refused is None:
            records.append({"index": index, "mapping": name, "status": "event", "event": document})
        else:
            status = "set_aside" if mapped.is_set_aside(refused) else "refused"
            why_not = {"reason": str(refused.reason), "field": refused.field, "detail": refused.detail}
            records.append({"index": index, "mapping": name, "status": status, **why_not})
    return {"path": path.path, "left_out": mapped.left_out, "records": records, "unknown_usage": dict(unknown)}


def _show(found: Mapping[str, Any]) -> None:
    print(f"POST {found['path']}")
    for record in found["records"]:
        print(f"record {record['index']}, by {record['mapping'] or 'no mapping: as our own CloudEvent'}:")
        if record["status"] == "event":
            for name, value in record["event"].items():
                print(f"    {name}: {value}")
        else:
            print(f"    {record['status'].replace('_', ' ')}: {record['reason']} {record['field']}: {record['detail']}")
    if found["left_out"]:
        print(f"left out: {found['left_out']}")
    for name, units in found["unknown_usage"].items():
        print(f"not billed: {units} {name}, which no meter sums")
