"""Verify all partitions of an installation."""

from collections.abc import Callable

from metering.kafka import KafkaSettings
from metering.partition_log import LogReader
from taximeter.verification.emitters import EmitterBook
from taximeter.verification.partition import PartitionVerification, Readers
from taximeter.verification.report import Report

OnProgress = Callable[[int, int], None]
"""Records of usage.events read so far, and in all."""


async def verify(kafka: KafkaSettings, on_progress: OnProgress = lambda _done, _total: None) -> Report:
    """Read the whole log once, as it stands now. Raises LogUnavailable when Kafka does not answer; what does not hold is in the report."""
    topics = kafka.topics
    readers = Readers(*(LogReader(kafka, f"verify-{name}") for name in ("events", "tallies", "ledger")))
    try:
        bounds = [await readers.bounds(topics, partition) for partition in range(kafka.partitions)]
        total = sum(each.events[1] - each.events[0] for each in bounds)
        done = 0

        def on_records(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, total)

        report, emitters = Report(), EmitterBook()
        for partition, each in enumerate(bounds):
            verification = PartitionVerification(
                partition, readers=readers, topics=topics, bounds=each, emitters=emitters, report=report, on_records=on_records
            )
            await verification.run()
        lines, problems = emitters.lines()
        report.emitters = lines
        for problem in problems:
            report.problems.add(problem)
        return report
    finally:
        await readers.close()
