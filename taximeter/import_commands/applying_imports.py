"""`taximeter replay apply` for a file or another topic: write the events, each once, by anybody and however often."""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from taximeter_emitter.clock import SystemClock

from aggregator.dead_letters.redriving import Signature
from aggregator.importing.identity_search import EntrySource
from aggregator.importing.importer import Importer, ImportKit, WrittenSoFar
from metering.kafka.clients import KafkaSettings
from metering.process.service_command import Configuration
from metering.records.meters import catalogue_problems
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.connection import configuration_of, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED, INTERRUPTED, OK, USAGE
from taximeter.import_commands.import_directory import ImportDirectory, ImportPlanUnusable, PlannedContent, PlannedImport
from taximeter.import_commands.planning_imports import SECTIONS, UNUSABLE, ImportProgress, opened_importer, sources_of
from taximeter.stripe_commands.running import print_json

SAVE_SECONDS: Final = 1.0
INTERRUPTED_BY_KAFKA: Final = "; the same command goes on where it was"


def apply_import(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all of it is in the log, 2 when something was left out because it is no event, 1 when nothing was done."""
    configuration = configuration_of(arguments, SECTIONS, check_file=catalogue_problems)
    try:
        planned, summary = ImportDirectory(arguments.directory).plan()
    except (ImportPlanUnusable, OSError) as error:
        told([str(error)])
        return USAGE
    problems = writing_problems(arguments)
    if arguments.no_brake:
        problems.append("--no-brake: a file has no brake, since the aggregator takes it in turn; --rate slows it down")
    if arguments.rate is not None and arguments.rate <= 0:
        problems.append("--rate must be above 0")
    if planned.partitions != configuration.of(KafkaSettings).partitions:
        problems.append(f"the plan is for {planned.partitions} partitions, and there are {configuration.of(KafkaSettings).partitions}")
    if planned.mistakes and not arguments.leave_out_invalid:
        problems.append(f"{planned.mistakes:,} entries are no events: mend them and plan again, or --leave-out-invalid")
    if told(problems):
        return USAGE
    try:
        return run_on_logs(_apply(arguments, configuration, planned, summary), refusals=UNUSABLE, interrupted=INTERRUPTED_BY_KAFKA)
    except KeyboardInterrupt:
        told([f"interrupted; what is written counts. Go on: taximeter replay apply {arguments.directory}"])
        return INTERRUPTED


async def _apply(arguments: argparse.Namespace, configuration: Configuration, planned: PlannedImport, summary: Mapping[str, Any]) -> int:
    if not arguments.json:
        for each in planned.contents:
            print(f"{each.content.name}: {each.entries - each.mistakes:,} events, by emitter {each.content.emitter}")
        print(", ".join(f"{int(quantity):,} units of {meter}" for meter, quantity in summary["units"].items()) or "no units more")
    if not arguments.yes and not agreed():
        told(["nothing was done"])
        return FAILED
    directory = ImportDirectory(arguments.directory)
    signature, now_ms = Signature(arguments.reason, author(arguments)), SystemClock().now_ms()
    results = []
    async with opened_importer(configuration, now_ms, ImportProgress(), events_per_second=arguments.rate) as (importer, kit):
        application = _Application(importer, kit, directory, signature)
        for each, source in sources_of(planned, kit.reader):
            result = await application.bring_in(each, source)
            results.append(result)
            if not arguments.json:
                said = "were written now, and all" if result["written"] else "had to be written: all"
                print(f"{result['name']}: {result['written']:,} of {result['events']:,} events {said} are in usage.events, by {result['emitter']}")
    if arguments.json:
        print_json({"schema": "taximeter.import-result/1", "contents": results, "left_out_invalid": planned.mistakes})
    return DISCREPANCY if planned.mistakes else OK


@dataclass(frozen=True, slots=True)
class _Application:
    """One run of the command."""

    importer: Importer
    kit: ImportKit
    directory: ImportDirectory
    signature: Signature

    async def bring_in(self, planned: PlannedContent, source: EntrySource) -> Mapping[str, Any]:
        """One content, to its end; what was done."""
        book, accepted = await self.importer.begin(source, planned.content.digest, self.signature)
        written = 0
        if accepted.emitter not in book.ended:
            # Not by the emitter alone: the same plan may be applied to another cluster.
            saver = _Saver(self.directory, f"{accepted.emitter} {accepted.offset} {accepted.at_ms}")
            written_so_far = WrittenSoFar(self.directory.written(saver.key, self.kit.partitions), saver.note)
            try:
                written = await self.importer.write(source, book, accepted, written_so_far)
            finally:
                saver.save()
        return {"name": planned.content.name, "emitter": accepted.emitter, "events": sum(accepted.numbers), "written": written}


class _Saver:
    """Keeps on the disk how far it is, now and then."""

    def __init__(self, directory: ImportDirectory, key: str) -> None:
        self._directory = directory
        self.key = key
        self._following: Sequence[int] | None = None
        self._saved = time.monotonic()

    def note(self, following: Sequence[int]) -> None:
        """Up to these numbers, by partition."""
        self._following = following
        if time.monotonic() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """What is noted."""
        if self._following is not None:
            self._directory.note_written(self.key, self._following)
            self._saved = time.monotonic()
