"""`taximeter spool`: what emitters that ended left on the disk of a host, and sending it."""

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
from rich.console import Console
from rich.table import Table
from taximeter_emitter import Emitter, GatewayOptions
from taximeter_emitter.emitter import TOPIC_DEFAULT
from taximeter_emitter.spool.spool_failed import SpoolFailed
from taximeter_emitter.spool.spool_file import SpoolFile, look_at, spool_paths, take_back

from taximeter.before_writing import agreed, asking_problems, told
from taximeter.connection import kafka_settings
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, PRECONDITION, USAGE

_POLL_SECONDS: Final = 0.2
_SAY_SECONDS: Final = 2.0
_CLOSE_SECONDS: Final = 10.0


def list_all(arguments: argparse.Namespace) -> int:
    """Show the spools in a directory.

    Exit code 2 when a file cannot be read, 4 when there is no such directory.
    """
    if not arguments.directory.is_dir():
        return _no_directory(arguments.directory)
    found = _look(arguments.directory)
    if arguments.json:
        print(orjson.dumps({"spools": [_as_json(file) for file in found]}, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(found)
    return DISCREPANCY if any(file.state == "unreadable" for file in found) else OK


def send(arguments: argparse.Namespace) -> int:
    """Send the spools of processes that ended.

    Exit code 0 when all that is for this topic was sent, 1 when something is left, 4 when Kafka cannot be reached.
    """
    if not arguments.directory.is_dir():
        return _no_directory(arguments.directory)
    if told(asking_problems(arguments)):
        return USAGE
    try:
        way = _way_of(arguments)
    except (ValueError, OSError) as problem:
        print(f"taximeter: {problem}", file=sys.stderr)
        return USAGE
    plan = _plan(_look(arguments.directory), way)
    if not arguments.json:
        _show_plan(plan, way)
    if plan.to_send and not arguments.yes and not agreed("Send them?"):
        print("nothing was done", file=sys.stderr)
        return FAILED
    try:
        sent, error = _send(plan, way, arguments) if plan.to_send else (0, "")
    except (ValueError, SpoolFailed, OSError) as problem:
        print(f"taximeter: {problem}", file=sys.stderr)
        return PRECONDITION
    left = _left(plan)
    if arguments.json:
        print(orjson.dumps(plan.as_json() | {"sent_events": sent, "left": [file.path.name for file in left]}, option=orjson.OPT_INDENT_2).decode())
    elif plan.to_send:
        print(f"sent {sent:,} events; {len(plan.to_send) - len(left)} of {len(plan.to_send)} spools are gone")
    if left:
        print(f"taximeter: {len(left)} spools are left; run it again to go on: {error or 'another process sends them'}", file=sys.stderr)
    refused = _refused_now(plan)
    for file in refused:
        print(f"taximeter: {file.path.name}: {file.refused:,} events were refused, and stay in it: {file.why}", file=sys.stderr)
    return OK if not left and not refused else PRECONDITION if error else FAILED


@dataclass(frozen=True, slots=True)
class SpoolWay:
    """Where spools are sent. `partitions` None: the gateway knows. `refused`: also what was refused."""

    name: str
    topic: str
    partitions: int | None
    emitter: Mapping[str, Any] = field(repr=False)
    refused: bool


def _way_of(arguments: argparse.Namespace) -> SpoolWay:
    """Raises ValueError for options that cannot be right, OSError for a key that cannot be read, NotConfigured."""
    if arguments.gateway is None:
        if arguments.api_key_file is not None:
            raise ValueError("--api-key-file is for --gateway")
        kafka = kafka_settings(arguments)
        topic = kafka.topics.events.name
        return SpoolWay(topic, topic, kafka.partitions, {"kafka": kafka.options()}, arguments.refused)
    key = None if arguments.api_key_file is None else arguments.api_key_file.read_text().strip()
    gateway = GatewayOptions(url=arguments.gateway, api_key=key)
    if gateway.problems():
        raise ValueError("; ".join(gateway.problems()))
    # A host that sends to a gateway need not know Kafka's settings, and its emitters mark their spools with the default.
    return SpoolWay(arguments.gateway, TOPIC_DEFAULT, None, {"gateway": gateway}, arguments.refused)


@dataclass(frozen=True, slots=True)
class SpoolPlan:
    """What `send` would do: the spools that it sends, and those that it leaves alone, each with the reason."""

    to_send: list[SpoolFile]
    left_alone: list[tuple[SpoolFile, str]]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "to_send": [_as_json(file) for file in self.to_send],
            "left_alone": [_as_json(file) | {"reason": reason} for file, reason in self.left_alone],
        }


def _plan(found: Sequence[SpoolFile], way: SpoolWay) -> SpoolPlan:
    plan = SpoolPlan([], [])
    for file in found:
        reason = _why_not(file, way)
        if reason:
            plan.left_alone.append((file, reason))
        else:
            plan.to_send.append(file)
    return plan


def _why_not(file: SpoolFile, way: SpoolWay) -> str:
    """Why a spool is not sent; nothing if it is."""
    if file.state == "unreadable":
        return f"cannot be read: {file.why}"
    if file.state == "alive":
        return "the process that writes it lives, and sends it itself"
    if file.state == "empty":
        return ""
    if file.topic != way.topic:
        return f"is for the topic {file.topic}; {'the settings say' if way.partitions is not None else 'a gateway gets those of'} {way.topic}"
    if way.partitions is not None and file.partition_max >= way.partitions:
        return f"is for partition {file.partition_max}; the settings say that there are {way.partitions}"
    if file.state == "refused" and not way.refused:
        return f"all that is in it, {file.refused:,} events, was refused: {file.why}; --refused sends it again"
    return ""


def _send(plan: SpoolPlan, way: SpoolWay, arguments: argparse.Namespace) -> tuple[int, str]:
    """How many events were sent, and why not all were. An emitter does the work, as it does for the spools of dead processes anywhere."""
    if way.refused:
        for file in plan.to_send:
            if file.refused:
                take_back(file.path)
    emitter = Emitter(**way.emitter, topic=way.topic, source="taximeter spool send", spool_dir=arguments.directory)
    error = ""
    try:
        progress_at = said_at = time.monotonic()
        before = (0, len(plan.to_send))
        while before[1] or _find_more(plan, way, arguments.directory):
            time.sleep(_POLL_SECONDS)
            now, stats = time.monotonic(), emitter.stats()
            state = (stats.counts.adopted + stats.counts.refused, len(_left(plan)))
            if state != before:
                before, progress_at = state, now
            if now - progress_at > arguments.patience:
                error = stats.last_error or f"no progress for {arguments.patience:g} s"
                break
            if now - said_at > _SAY_SECONDS and not arguments.json:
                said_at = now
                wait = f"; {stats.last_error}" if stats.last_error else ""
                events = sum(file.events for file in plan.to_send)
                print(f"{stats.counts.adopted:,} of {events:,} events sent, {state[1]} spools left{wait}", file=sys.stderr)
    finally:
        # What is under way when a person interrupts it is acknowledged, or sent again by the next.
        adopted = emitter.close(0.0 if error else _CLOSE_SECONDS).counts.adopted
    return adopted, error


def _left(plan: SpoolPlan) -> list[SpoolFile]:
    """The spools of the plan in which something is still to be sent."""
    return [file for file in plan.to_send if file.path.exists() and (found := look_at(file.path)) is not None and found.state != "refused"]


def _refused_now(plan: SpoolPlan) -> list[SpoolFile]:
    """Those of which something was refused."""
    return [found for file in plan.to_send if (found := look_at(file.path)) is not None and found.refused]


def _find_more(plan: SpoolPlan, way: SpoolWay, directory: Path) -> bool:
    """Put spools into the plan whose processes ended, or that nobody looks at any more, since it was made; whether there are any."""
    known = {file.path for file in plan.to_send}
    more = [file for file in _plan(_look(directory), way).to_send if file.path not in known]
    plan.to_send.extend(more)
    return bool(more)


def _look(directory: Path) -> list[SpoolFile]:
    return [file for path in spool_paths(directory) if (file := look_at(path)) is not None]


def _no_directory(directory: Path) -> int:
    print(f"taximeter: {directory} is not a directory", file=sys.stderr)
    return PRECONDITION


def _show_plan(plan: SpoolPlan, way: SpoolWay) -> None:
    events, size = sum(file.events + way.refused * file.refused for file in plan.to_send), sum(file.bytes for file in plan.to_send)
    print(f"to send to {way.name}: {len(plan.to_send)} spools, {events:,} events, {size:,} bytes")
    empty = sum(file.state == "empty" for file in plan.to_send)
    if empty:
        print(f"  {empty:,} of them hold nothing, because their processes were killed while they made them: they are removed")
    for file, reason in plan.left_alone:
        print(f"  left alone: {file.path.name}: {reason}")


def _show(found: Sequence[SpoolFile]) -> None:
    if not found:
        print("no spools")
        return
    table = Table()
    for heading in ("file", "state", "topic", "events", "refused", "bytes", "age", "why"):
        table.add_column(heading, justify="right" if heading in {"events", "refused", "bytes", "age"} else "left", overflow="fold")
    for file in found:
        counted = "" if file.state == "unreadable" else f"{file.events:,}"
        table.add_row(
            file.path.name, file.state, file.topic, counted, f"{file.refused:,}" if file.refused else "", f"{file.bytes:,}", _age(file), file.why
        )
    Console(width=None if sys.stdout.isatty() else 200, no_color="NO_COLOR" in os.environ or None, markup=False, highlight=False).print(table)


def _age(file: SpoolFile) -> str:
    """Since the last change, in the largest unit that fits."""
    seconds = _age_seconds(file)
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _age_seconds(file: SpoolFile) -> int:
    return max(0, int(time.time() - file.changed_at)) if file.changed_at else 0


def _as_json(file: SpoolFile) -> dict[str, Any]:
    return {
        "file": file.path.name,
        "emitter": file.emitter,
        "state": file.state,
        "topic": file.topic,
        "events": file.events,
        "refused_events": file.refused,
        "bytes": file.bytes,
        "age_seconds": _age_seconds(file),
        "why": file.why,
    }
