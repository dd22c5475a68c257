"""Verify all partitions of an installation, those that exist and not only those of the settings."""

import asyncio
import multiprocessing
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, field
from multiprocessing.sharedctypes import Synchronized
from typing import Final

from aiokafka.errors import KafkaError

from audit.adjustments.plan_book import PlanBook, PlanState
from audit.adjustments.plan_proving import prove_plans
from audit.adjustments.plan_reading import PlanLog
from audit.recount.published_versions import PublishedVersions
from audit.recount.tally_recount import Forwarded
from audit.recount.written_links import WrittenLinks
from audit.refusal_answers.answer_reading import answered_reports
from audit.verification.emitters import EmitterBook
from audit.verification.forwarding import missing_copies
from audit.verification.partition import LogBounds, PartitionVerification, Readers, VerificationScope
from audit.verification.plan_terms import plan_problems
from audit.verification.report import Report
from audit.verification.span import EVERYTHING, TimeRange
from metering.kafka.around_damage import leave_out, records_around_damage
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.kafka.provision import partition_counts
from metering.kafka.topics import Topics, TopicSpec
from metering.records.fail_closed import FailClosed

PROGRESS_SECONDS: Final = 0.5

OnProgress = Callable[[int, int], None]
"""Records of usage.events read so far, and in all."""


@dataclass(slots=True)
class Findings:
    """What the verification of some partitions found."""

    emitters: EmitterBook
    report: Report = field(default_factory=Report)
    forwarded: list[Forwarded] = field(default_factory=list)
    book: PlanBook = field(default_factory=PlanBook)

    def add(self, other: "Findings") -> None:
        """Add those of other partitions."""
        self.emitters.add(other.emitters)
        self.report.add(other.report)
        self.forwarded += other.forwarded
        self.book.add(other.book)


async def verify(
    kafka: KafkaSettings, on_progress: OnProgress = lambda _done, _total: None, *, times: TimeRange = EVERYTHING, workers: int = 1
) -> Report:
    """Read the log once, as it stands now: the whole of it, or what the tallies of a time range cover, and the intents that report those.

    With 2 `workers` and more, that many processes share the partitions. Raises LogUnavailable when Kafka does not answer; what does not hold is
    in the report. Memory of each process: one fetch of each topic, the sums of one tally and of one intent, the ledger's open entries, and
    what `EmitterBook`, `CorrectionHistory`, `SeenIdentities` and `AsideBook` say; only what is bounded grows with the number of events.
    """
    versions, unpublished = await _published_versions(kafka)
    links, unread = await _written_links(kafka)
    scope = VerificationScope(kafka.topics, kafka.partitions, times, versions, links)
    existing = await _existing_partitions(kafka)
    partitions = range(min(kafka.partitions, existing) or kafka.partitions)
    if workers > 1:
        found = await _side_by_side(kafka, scope, partitions, min(workers, len(partitions)), on_progress)
    else:
        found = await verify_partitions(kafka, scope, partitions, on_progress)
    report = found.report
    for problem in (unpublished, unread):
        if problem is not None:
            report.problems.add(problem)
    await _look_elsewhere(kafka, found, range(kafka.partitions, existing))
    report.emitters, problems = found.emitters.lines()
    # Within a range of time one of the two partitions may be outside.
    for problem in (*problems, *(report.moves.problems if times.is_everything else ())):
        report.problems.add(problem)
    if found.book.plans:
        await _prove_plans(kafka, found, partitions, times)
    await _answer_refusals(kafka, report)
    return report


async def verify_partitions(kafka: KafkaSettings, scope: VerificationScope, partitions: Sequence[int], on_progress: OnProgress) -> Findings:
    """One after the other, in this process. Raises LogUnavailable if none can be read."""
    topics = scope.topics
    readers = Readers(*(LogReader(kafka, f"verify-{name}") for name in ("events", "tallies", "ledger")))
    found = Findings(EmitterBook(whole=scope.times.is_everything))
    try:
        bounds = {partition: await readers.bounds(topics, partition) for partition in partitions}
        total = sum([await _events_in(readers.events, topics, partition, each, scope.times) for partition, each in bounds.items()])
        done = 0

        def on_records(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, total)

        for partition, each in bounds.items():
            verification = PartitionVerification(
                partition, readers=readers, scope=scope, bounds=each, emitters=found.emitters, report=found.report, on_records=on_records
            )
            await verification.run()
            found.forwarded += verification.history.forwarded
            found.book.add(verification.book)
        return found
    finally:
        await readers.close()


async def _existing_partitions(kafka: KafkaSettings) -> int:
    try:
        return (await partition_counts(kafka, (kafka.topics.events,))).get(kafka.topics.events.name, 0)
    except KafkaError as error:
        raise LogUnavailable(f"the partitions of {kafka.topics.events.name} cannot be read: {error!r}") from error


async def _published_versions(kafka: KafkaSettings) -> tuple[PublishedVersions, str | None]:
    """The versions of the catalogue, and what is wrong with their topic. There are none where no aggregator of this release has run."""
    versions, topic = PublishedVersions(), kafka.topics.catalogue.name
    reader = LogReader(kafka, "verify-catalogue")
    try:
        start, end = await _kept(kafka, reader, kafka.topics.catalogue)
        if start > 0:
            return versions, f"{topic} is kept from {start}: versions of the catalogue were deleted, and by which usage was counted is not known"
        async with aclosing(reader.records(topic, 0, 0, end)) as blocks:
            async for records in blocks:
                for record in records:
                    versions.take(record.offset, record.timestamp, record.value)
        return versions, None
    except FailClosed as error:
        return PublishedVersions(), f"the versions of the catalogue could not be read: {error}"
    finally:
        await reader.close()


async def _written_links(kafka: KafkaSettings) -> tuple[WrittenLinks, str | None]:
    """Who may be billed for whom, and what is wrong with the topic of the links. There are none where no service of this release has run."""
    links, topic = WrittenLinks(), kafka.topics.customers.name
    reader = LogReader(kafka, "verify-customers")
    try:
        start, end = await _kept(kafka, reader, kafka.topics.customers)
        async with aclosing(records_around_damage(reader, topic, 0, start, end, on_damage=leave_out)) as blocks:
            async for records in blocks:
                for record in records:
                    links.take(record.value)
        return links, f"{topic} is kept from {start}: links were deleted, and who was to be billed is not known" if start else None
    except FailClosed as error:
        return WrittenLinks(), f"the links of customers could not be read: {error}"
    finally:
        await reader.close()


async def _kept(kafka: KafkaSettings, reader: LogReader, spec: TopicSpec) -> tuple[int, int]:
    """What is kept of a topic with one partition; nothing where it does not exist."""
    try:
        return await reader.bounds(spec.name, 0) if await partition_counts(kafka, (spec,)) else (0, 0)
    except KafkaError as error:
        raise LogUnavailable(f"the partitions of {spec.name} cannot be read: {error!r}") from error


async def _prove_plans(kafka: KafkaSettings, found: Findings, partitions: Sequence[int], times: TimeRange) -> None:
    """Those of which a part was read. Within a range of time they may have others outside, and rest on earlier plans."""
    report, book = found.report, found.book
    try:
        if not times.is_everything:
            book = await _whole_book(kafka, partitions)
        report.plans = await prove_plans(kafka, book, found.book.plans.keys())
    except (FailClosed, LogUnavailable) as error:
        report.problems.add(f"the plans in the log could not be derived again: {error}")
    for problem in plan_problems(report.plans):
        report.problems.add(problem)
    for each in report.plans:
        if each.state is PlanState.APPLIED and not each.problems:
            report.unknown_usage -= Counter(each.named)


async def _answer_refusals(kafka: KafkaSettings, report: Report) -> None:
    """What the ledger has on record about refusals that Stripe did not name, which may be of any partition."""
    try:
        report.refusals.reports = await answered_reports(kafka, [each.report for each in report.refusals.reports])
    except (FailClosed, LogUnavailable) as error:
        report.problems.add(f"what answers refusals that Stripe did not name could not be read: {error}")


async def _whole_book(kafka: KafkaSettings, partitions: Sequence[int]) -> PlanBook:
    events, tallies = LogReader(kafka, "verify-events"), LogReader(kafka, "verify-tallies")
    try:
        book, _ = await PlanLog(events, tallies, kafka.topics).book(partitions)
        return book
    finally:
        await events.close()
        await tallies.close()


async def _look_elsewhere(kafka: KafkaSettings, found: Findings, unread: Sequence[int]) -> None:
    """Look for forwarded events in their own partitions, and at the partitions that nobody counts."""
    topic, report = kafka.topics.events.name, found.report
    reader = LogReader(kafka, "verify-elsewhere")
    try:
        for event in await missing_copies(reader, topic, found.forwarded):
            report.problems.add(f"record {event.offset} was forwarded to partition {event.home}, and its event is not there")
        for partition in unread:
            start, _ = await reader.bounds(topic, partition)
            report.unread_partitions[partition] = (await reader.ends(topic, partition)).end - start
    except (FailClosed, LogUnavailable) as error:
        report.problems.add(f"what was forwarded, or is in partitions that nobody counts, could not be looked at: {error}")
    finally:
        await reader.close()


async def _side_by_side(kafka: KafkaSettings, scope: VerificationScope, partitions: Sequence[int], workers: int, on_progress: OnProgress) -> Findings:
    context = multiprocessing.get_context("spawn")
    done, total = context.Value("q", 0), context.Value("q", 0)
    found = Findings(EmitterBook(whole=scope.times.is_everything))
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(done, total)) as pool:
        waiting = {loop.run_in_executor(pool, _verify_one, kafka, scope, partition) for partition in partitions}
        while waiting:
            finished, waiting = await asyncio.wait(waiting, timeout=PROGRESS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            for each in finished:
                found.add(each.result())
            on_progress(done.value, total.value)
    return found


_counters: list["Synchronized[int]"] = []


def _start_worker(done: "Synchronized[int]", total: "Synchronized[int]") -> None:
    _counters[:] = [done, total]


def _verify_one(kafka: KafkaSettings, scope: VerificationScope, partition: int) -> Findings:
    """In a process of its own."""
    before = [0, 0]

    def on_progress(*now: int) -> None:
        for place, value in enumerate(now):
            with _counters[place].get_lock():
                _counters[place].value += value - before[place]
            before[place] = value

    return asyncio.run(verify_partitions(kafka, scope, [partition], on_progress))


async def _events_in(reader: LogReader, topics: Topics, partition: int, bounds: LogBounds, times: TimeRange) -> int:
    """How many records of usage.events a time range has, about: for the progress."""
    offsets = list(bounds.events)
    for index, log_time_ms in enumerate((times.from_ms, times.to_ms)):
        if log_time_ms is not None:
            found = await reader.offset_for_time(topics.events.name, partition, log_time_ms)
            offsets[index] = bounds.events[1] if found is None else min(found, bounds.events[1])
    return max(0, offsets[1] - offsets[0])
