"""Verify all partitions of an installation."""

from collections.abc import Callable

from audit.verification.emitters import EmitterBook
from audit.verification.partition import LogBounds, PartitionVerification, Readers
from audit.verification.report import Report
from audit.verification.span import EVERYTHING, TimeRange
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics

OnProgress = Callable[[int, int], None]
"""Records of usage.events read so far, and in all."""


async def verify(kafka: KafkaSettings, on_progress: OnProgress = lambda _done, _total: None, *, times: TimeRange = EVERYTHING) -> Report:
    """Read the log once, as it stands now: the whole of it, or what the tallies of a time range cover, and the intents that report those.

    Raises LogUnavailable when Kafka does not answer; what does not hold is in the report. Memory: one fetch of each topic, the sums of one
    intent, the ledger's open entries, and what `EmitterBook` and `CorrectionHistory` say; none of it grows with the number of events.
    """
    topics = kafka.topics
    readers = Readers(*(LogReader(kafka, f"verify-{name}") for name in ("events", "tallies", "ledger")))
    try:
        bounds = [await readers.bounds(topics, partition) for partition in range(kafka.partitions)]
        total = sum([await _events_in(readers.events, topics, partition, each, times) for partition, each in enumerate(bounds)])
        done = 0

        def on_records(count: int) -> None:
            nonlocal done
            done += count
            on_progress(done, total)

        report, emitters = Report(), EmitterBook(whole=times.is_everything)
        for partition, each in enumerate(bounds):
            verification = PartitionVerification(
                partition, readers=readers, topics=topics, bounds=each, times=times, emitters=emitters, report=report, on_records=on_records
            )
            await verification.run()
        lines, problems = emitters.lines()
        report.emitters = lines
        for problem in problems:
            report.problems.add(problem)
        return report
    finally:
        await readers.close()


async def _events_in(reader: LogReader, topics: Topics, partition: int, bounds: LogBounds, times: TimeRange) -> int:
    """How many records of usage.events a time range has, about: for the progress."""
    offsets = list(bounds.events)
    for index, log_time_ms in enumerate((times.from_ms, times.to_ms)):
        if log_time_ms is not None:
            found = await reader.offset_for_time(topics.events.name, partition, log_time_ms)
            offsets[index] = bounds.events[1] if found is None else min(found, bounds.events[1])
    return max(0, offsets[1] - offsets[0])
