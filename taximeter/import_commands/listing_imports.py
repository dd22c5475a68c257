"""What `taximeter replay list` and `show` say of files and topics that are brought in."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from aggregator.importing.import_log import ImportLog
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.import_records import Import
from taximeter.before_writing import told
from taximeter.exit_codes import OK, USAGE
from taximeter.import_commands.import_directory import ImportDirectory, ImportPlanUnusable
from taximeter.stripe_commands.running import console, print_json, shown


@dataclass(frozen=True, slots=True)
class LoggedImport:
    """An import of the log; whether all of its events are in usage.events."""

    record: Import
    is_done: bool

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        content = self.record.content
        return {
            "emitter": self.record.emitter,
            "kind": content.kind,
            "name": content.name,
            "partition": content.partition,
            "start": content.start,
            "end": content.end,
            "entries": self.record.entries,
            "events": sum(self.record.numbers),
            "left_out": len(self.record.known),
            "done": self.is_done,
            "by": self.record.by,
            "reason": self.record.reason,
            "at_ms": self.record.at_ms,
        }


async def read_imports(kafka: KafkaSettings) -> list[LoggedImport]:
    """All imports that the log has, the oldest first. Reads usage.deadletters whole; blocks on Kafka; raises LogUnavailable or FailClosed."""
    reader = LogReader(kafka, "imports")
    found = []
    try:
        log = ImportLog(reader, kafka.topics, kafka.partitions)
        for partition in range(kafka.partitions):
            book = await log.read(partition)
            found += [LoggedImport(each, each.emitter in book.ended) for each in book.imports.values()]
    finally:
        await reader.close()
    return sorted(found, key=lambda each: each.record.at_ms)


def show_imports(imports: Sequence[LoggedImport]) -> None:
    """A table; nothing if there are none."""
    if not imports:
        return
    table = Table(title="files and topics that were brought in", title_justify="left")
    for heading in ("name", "emitter", "state", "events", "left out", "begun", "by", "why"):
        table.add_column(heading, justify="right" if heading in {"events", "left out"} else "left", overflow="fold")
    for each in imports:
        record, content = each.record, each.record.content
        name = content.name if content.kind == "file" else f"{content.name}/{content.partition}: {content.start} to {content.end - 1}"
        events, left_out = f"{sum(record.numbers):,}", f"{len(record.known):,}"
        state = "done" if each.is_done else "unfinished"
        table.add_row(name, record.emitter, state, events, left_out, shown(record.at_ms // 1000), record.by, record.reason)
    console().print(table)


def show_import_plan(arguments: argparse.Namespace) -> int:
    """What a directory plans to bring in, as it was found when it was planned."""
    try:
        planned, summary = ImportDirectory(Path(arguments.plan)).plan()
    except (ImportPlanUnusable, OSError) as error:
        told([str(error)])
        return USAGE
    if arguments.json:
        print_json({"schema": "taximeter.plan/1", "kind": "import", "plan": arguments.plan, **summary})
        return OK
    print(f"planned {shown(planned.planned_ms // 1000)}")
    for each in planned.contents:
        print(f"{each.content.name}: {each.entries:,} entries, {each.mistakes:,} are no events; emitter {each.content.emitter}")
    print(", ".join(f"{int(quantity):,} units of {meter}" for meter, quantity in summary["units"].items()) or "no units")
    return OK
