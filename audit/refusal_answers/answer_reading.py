"""Read from usage.ledger what answers refusals that Stripe counted and did not name."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from audit.refusal_answers.answer_fold import AnsweredReport, AnswerFold, answers_of
from audit.refusal_answers.refusal_suspects import SuspectFold, by_cell, window_of
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.clients import KafkaSettings
from metering.kafka.ledger_log import ledger_since
from metering.kafka.partition_log import LogReader
from metering.reconciliation.cells import CellScope
from metering.records.ledger_records import Entry, Rejection, decode_entry


async def answered_reports(kafka: KafkaSettings, reports: Sequence[Rejection]) -> list[AnsweredReport]:
    """These reports, which count more than they name, each with its answer. Nothing is read without a report.

    Reads every partition's ledger from the first window on, three times. Blocks on Kafka; raises LogUnavailable and FailClosed.
    """
    if not reports:
        return []
    reader = _AnswerReader(kafka, reports)
    try:
        found = [await reader.read(partition) for partition in range(kafka.partitions)]
        return answers_of(reports, [each for each in found if each is not None])
    finally:
        await reader.close()


class _AnswerReader:
    def __init__(self, kafka: KafkaSettings, reports: Sequence[Rejection]) -> None:
        self._topic = kafka.topics.ledger.name
        self._reader = LogReader(kafka, "refusal-answers")
        self._reports = reports

    async def close(self) -> None:
        await self._reader.close()

    async def read(self, partition: int) -> tuple[SuspectFold, AnswerFold] | None:
        """None if nothing was sent in the windows of the reports."""
        start, end = await self._reader.bounds(self._topic, partition)
        since_ms = max(0, min(window_of(report)[0] for report in self._reports))
        begin, ledger = await ledger_since(self._reader, self._topic, partition, since_ms, start=start, end=end)
        if begin >= end:
            return None
        suspects = SuspectFold(self._reports, ledger)
        async with aclosing(self._entries(partition, begin, end)) as entries:
            async for offset, log_time_ms, entry in entries:
                suspects.fold(offset, log_time_ms, entry)
        scope = suspects.scope()
        return None if scope is None else (suspects, await self._answers(partition, suspects, scope, (start, end)))

    async def _answers(self, partition: int, suspects: SuspectFold, scope: CellScope, bounds: tuple[int, int]) -> AnswerFold:
        start, end = bounds
        begin, ledger = await ledger_since(self._reader, self._topic, partition, max(0, scope.told_from_ms), start=start, end=end)
        fold = AnswerFold(by_cell(suspects.cells), scope, ledger)
        async with aclosing(self._entries(partition, begin, end)) as entries:
            async for _, _, entry in entries:
                fold.foresee(entry)
        async with aclosing(self._entries(partition, begin, end)) as entries:
            async for offset, log_time_ms, entry in entries:
                fold.fold(offset, log_time_ms, entry)
        return fold

    async def _entries(self, partition: int, begin: int, end: int) -> AsyncGenerator[tuple[int, int, Entry], None]:
        async with aclosing(chain_records(self._reader, PartitionPlace(self._topic, partition), begin, end, decode_entry)) as entries:
            async for entry in entries:
                yield entry
