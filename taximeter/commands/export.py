"""`taximeter export`: write tallies, the ledger or events as Parquet files by the day, each record once."""

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import OK, PRECONDITION
from taximeter.exporting.day_files import DayFiles, ExportRefused
from taximeter.exporting.export_columns import WHAT
from taximeter.exporting.exporter import Exporter


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0: the logs up to where they ended at the start are in the files."""
    if find_spec("pyarrow") is None:
        print("taximeter: Parquet needs an extra: pip install taximeter[parquet]", file=sys.stderr)
        return PRECONDITION
    kafka = kafka_settings(arguments)
    return run_on_logs(_export(kafka, arguments), refusals=(ExportRefused, OSError), interrupted="; the same command goes on from there")


async def _export(kafka: KafkaSettings, arguments: argparse.Namespace) -> int:
    folder: Path = arguments.to
    files = DayFiles(folder, arguments.what, f"{kafka.topic_prefix}/{kafka.partitions}")
    reader, events = LogReader(kafka, "export"), LogReader(kafka, "export-events")
    exporter = Exporter(reader, events, kafka.topics, files, arguments.since_ms or 0)
    try:
        with files.alone():
            for partition in range(kafka.partitions):
                if arguments.what == "ledger":
                    await exporter.ledger(partition)
                else:
                    await exporter.tallies(partition, events=arguments.what == "events")
                _tell(partition, files.rows)
    finally:
        await reader.close()
        await events.close()
    datasets = ", ".join(str(folder / dataset) for dataset in WHAT[arguments.what])
    print(f"{files.rows:,} rows in {files.files:,} new files of {datasets}")
    if exporter.gone:
        print(f"{exporter.gone:,} records of {kafka.topics.events.name} are not kept any more, and are in no file")
    return OK


def _tell(partition: int, rows: int) -> None:
    if sys.stderr.isatty():
        print(f"to partition {partition}: {rows:,} rows", file=sys.stderr)
