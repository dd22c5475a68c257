"""`taximeter corrections`: list what was taken back and sent again.

That is every accepted correction in the ledger, and what became of it.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import orjson
from rich.console import Console
from rich.table import Table

from metering.folds.corrections import Corrected
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from reporter.correcting import PartitionHistory
from taximeter.commands.correct import as_json, moment
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import OK


def run(arguments: argparse.Namespace) -> int:
    """Exit code 2 when a partition's ledger contradicts itself."""
    kafka = kafka_settings(arguments)
    partitions = range(kafka.partitions) if arguments.partition is None else [arguments.partition]
    return run_on_logs(_list(arguments, kafka, partitions))


async def _list(arguments: argparse.Namespace, kafka: KafkaSettings, partitions: Sequence[int]) -> int:
    found = await _read(kafka, partitions)
    if arguments.json:
        print(orjson.dumps({"corrections": [as_json(corrected) for corrected in found]}, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(found)
    return OK


async def _read(kafka: KafkaSettings, partitions: Sequence[int]) -> list[Corrected]:
    """All of them, oldest first; reads the whole ledger."""
    reader = LogReader(kafka, "corrections")
    found: list[Corrected] = []
    try:
        for partition in partitions:
            history = PartitionHistory(reader, kafka.topics, partition)
            await history.read_on()
            found += history.folded.corrections.values()
    finally:
        await reader.close()
    return sorted(found, key=lambda corrected: corrected.log_time_ms)


def _show(found: Sequence[Corrected]) -> None:
    table = Table()
    for heading in ("when", "what", "meter event", "units", "meter", "customer", "outcome", "by", "reason"):
        table.add_column(heading, justify="right" if heading == "units" else "left", overflow="fold")
    for corrected in found:
        correction, event = corrected.correction, corrected.correction.event
        outcome = f"{corrected.fate.outcome or 'open'}{', not recorded' if corrected.fate.reported else ''}"
        table.add_row(
            moment(corrected.log_time_ms),
            correction.kind,
            correction.target_identifier,
            f"{event.value:,}",
            event.meter,
            event.customer,
            outcome,
            correction.by,
            correction.reason,
        )
    console = Console(width=None if sys.stdout.isatty() else 200, no_color="NO_COLOR" in os.environ or None, markup=False, highlight=False)
    console.print(table)
