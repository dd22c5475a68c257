"""`taximeter replay plan --file` and `--from-topic`: what bringing events in would count. Writes a directory and nothing to the log."""

import argparse
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import orjson
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.dead_letters.redriving import DeadLetterLog
from aggregator.importing.columns import ColumnMapping, ColumnsWrong, parse_mapping
from aggregator.importing.event_file import EventFile, FileUnusable
from aggregator.importing.foreign_topic import ForeignPartition, partition_count
from aggregator.importing.identity_search import EntrySource
from aggregator.importing.import_log import NotImported
from aggregator.importing.import_survey import ImportRules
from aggregator.importing.importer import FileSource, Importer, ImportKit, OnStep
from aggregator.importing.source_entries import check_source
from aggregator.settings import AggregatorSettings
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.process.service_command import Configuration
from metering.records.meters import catalogue_of, catalogue_problems
from taximeter.account_prices import plan_money
from taximeter.before_writing import told
from taximeter.catalogue_in_force import catalogue_in_force
from taximeter.connection import configuration_of, run_on_logs
from taximeter.exit_codes import DISCREPANCY, OK, USAGE
from taximeter.import_commands.import_arguments import selection_problems
from taximeter.import_commands.import_directory import (
    INVALID_LISTED_MAX,
    ImportDirectory,
    ImportPlanUnusable,
    PlannedContent,
    PlannedImport,
)
from taximeter.import_commands.import_text import SurveyedContent, import_json, import_lines
from taximeter.stripe_commands.running import print_json

IMPORT_REDRAWN_SECONDS: Final = 0.5
IMPORT_TOLD_SECONDS: Final = 10.0
SECTIONS: Final = {"kafka": KafkaSettings, "aggregator": AggregatorSettings}
UNUSABLE: Final = (ColumnsWrong, FileUnusable, ImportPlanUnusable, NotImported, OSError)


def plan_import(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all of it would be counted or was, 2 when something is no event or would be set aside."""
    configuration = configuration_of(arguments, SECTIONS, check_file=catalogue_problems)
    columns, problems = _columns(arguments)
    problems += selection_problems(arguments)
    if arguments.out is None:
        problems.append("say where the plan goes: --out DIR")
    if arguments.from_topic in {topic.name for topic in configuration.of(KafkaSettings).topics}:
        problems.append(f"{arguments.from_topic} is a topic of this installation: --from-topic brings in those of others")
    if told(problems) or columns is None:
        return USAGE
    return run_on_logs(_plan(arguments, configuration, columns), refusals=UNUSABLE)


@asynccontextmanager
async def opened_importer(
    configuration: Configuration, now_ms: int, on_step: OnStep, *, events_per_second: float | None = None
) -> AsyncIterator[tuple[Importer, ImportKit]]:
    """An importer, whose connections are closed at the end."""
    kafka = configuration.of(KafkaSettings)
    horizon_ms = round(configuration.of(AggregatorSettings).deduplication_horizon_seconds * 1000)
    reader, appender = LogReader(kafka, "import-reader"), Appender(kafka, "import-appender")
    try:
        catalogue = await catalogue_in_force(reader, kafka.topics, catalogue_of(configuration.file), now_ms)
        rules = ImportRules(catalogue, now_ms, horizon_ms, lambda customer: partition_of(customer, kafka.partitions))
        letters = DeadLetterLog(reader, kafka.topics, partitions=kafka.partitions, clock=SystemClock())
        kit = ImportKit(reader, appender, kafka.topics, kafka.partitions, on_step, events_per_second)
        yield Importer(kit, letters, rules), kit
    finally:
        await reader.close()
        await appender.close()


class ImportProgress:
    """Says on stderr what is being done: how far, how quickly, how long it will take. `noun` is what is counted."""

    def __init__(self, noun: str = "entries") -> None:
        self._noun = noun
        self._what = ""
        self._began = self._told = time.monotonic()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """As OnStep says."""
        now = time.monotonic()
        if what != self._what:
            self._what, self._began = what, now
        if now - self._told < (IMPORT_REDRAWN_SECONDS if sys.stderr.isatty() else IMPORT_TOLD_SECONDS) or not done:
            return
        self._told = now
        rate = done / max(now - self._began, 1e-9)
        left = "" if total is None else f" of {total:,}"
        eta = "" if total is None else f", {(total - done) / rate:,.0f} s left"
        print(f"{what}: {done:,}{left} {self._noun}, {rate:,.0f}/s{eta}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class _Planned:
    content: PlannedContent
    surveyed: SurveyedContent


async def _plan(arguments: argparse.Namespace, configuration: Configuration, columns: ColumnMapping) -> int:
    directory = ImportDirectory(arguments.out)
    now_ms = SystemClock().now_ms()
    with directory.begin() as invalid:
        async with opened_importer(configuration, now_ms, ImportProgress()) as (importer, kit):
            kafka = configuration.of(KafkaSettings)
            sources = await _topic_sources(arguments.from_topic, importer, kit, kafka) if arguments.from_topic else _file_sources(arguments, columns)
            planned = [await _planned(importer, source, invalid) for source in sources]
    surveyed = [each.surveyed for each in planned]
    money = await plan_money(arguments)
    summary = import_json(surveyed, money)
    contents = [each.content for each in planned]
    directory.finish(PlannedImport(contents, columns.pairs, arguments.source_name, configuration.of(KafkaSettings).partitions, now_ms), summary)
    if arguments.json:
        print_json({"schema": "taximeter.plan/1", "kind": "import", "plan": str(arguments.out), **summary})
    else:
        for line in import_lines(surveyed, money):
            print(line)
        print(f"Nothing was written. Apply: taximeter replay apply {arguments.out}" + _leaving(sum(each.mistakes for each in contents)))
    return DISCREPANCY if any(each.survey.mistakes or each.survey.letters for each in surveyed) else OK


async def _planned(importer: Importer, source: EntrySource, invalid: IO[bytes]) -> _Planned:
    content, survey = await importer.survey(source)
    if survey.mistakes:
        await _list_invalid(source, content.name, invalid)
    book = await importer.log.read(importer.log.partition_of(content))
    file = source.file if isinstance(source, FileSource) else None
    not_read = file.columns_not_read() if file is not None else ()
    surveyed = SurveyedContent(content, survey, not_read, content.emitter in book.imports, content.emitter in book.ended)
    path, format_name = ("", "") if file is None else (str(file.path.resolve()), file.format_name)
    return _Planned(PlannedContent(content, path, format_name, survey.entries, survey.mistakes), surveyed)


async def _list_invalid(source: EntrySource, name: str, invalid: IO[bytes]) -> None:
    """Every mistake, for those who mend the file; the first INVALID_LISTED_MAX of them."""
    listed = 0
    async with aclosing(source.chunks()) as chunks:
        async for chunk in chunks:
            for entry in chunk:
                if isinstance(entry.content, EventRejected) and listed < INVALID_LISTED_MAX:
                    listed += 1
                    said = {"name": name, "place": entry.place, "reason": entry.content.reason.value, "field": entry.content.field}
                    invalid.write(orjson.dumps({**said, "detail": entry.content.detail}) + b"\n")


def _file_sources(arguments: argparse.Namespace, columns: ColumnMapping) -> list[EntrySource]:
    return [FileSource(EventFile(path, columns, arguments.source_name, arguments.format)) for path in arguments.files]


async def _topic_sources(topic: str, importer: Importer, kit: ImportKit, kafka: KafkaSettings) -> list[EntrySource]:
    """What of each partition of the topic was not brought in yet."""
    sources: list[EntrySource] = []
    partitions = await partition_count(kafka, topic)
    if not partitions:
        raise NotImported(f"there is no topic {topic}")
    for partition in range(partitions):
        book = await importer.log.read(importer.log.partition_of_topic(topic, partition))
        start, end = await kit.reader.bounds(topic, partition)
        start = max(start, book.end_of(topic, partition))
        for unfinished in book.imports.values():
            if unfinished.content.name == topic and unfinished.content.partition == partition and unfinished.emitter not in book.ended:
                print(f"taximeter: {unfinished.emitter} of {unfinished.by} is not finished: apply its plan again", file=sys.stderr)
        if start < end:
            sources.append(ForeignPartition(kit.reader, topic, partition, start, end))
    if not sources:
        raise NotImported(f"there is nothing in {topic} that was not brought in")
    return sources


def _columns(arguments: argparse.Namespace) -> tuple[ColumnMapping | None, list[str]]:
    problems: list[str] = []
    columns = None
    try:
        columns = parse_mapping(arguments.column)
    except ColumnsWrong as wrong:
        problems += wrong.problems
    try:
        check_source(arguments.source_name)
    except EventRejected as rejected:
        problems.append(str(rejected))
    if arguments.from_topic and (arguments.column or arguments.source_name or arguments.format):
        problems.append("--column, --source-name and --format are for files: a topic's records say what they are")
    return columns, problems


def _leaving(mistakes: int) -> str:
    return " --leave-out-invalid" if mistakes else ""


def sources_of(planned: PlannedImport, reader: LogReader) -> Sequence[tuple[PlannedContent, EntrySource]]:
    """What a plan brings in, to be read again. Raises FileUnusable."""
    return [
        (
            each,
            FileSource(EventFile(Path(each.path), ColumnMapping(tuple(planned.columns)), planned.source, each.format_name))
            if each.content.kind == "file"
            else ForeignPartition(reader, each.content.name, each.content.partition, each.content.start, each.content.end),
        )
        for each in planned.contents
    ]
