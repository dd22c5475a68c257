"""Read the cells of one partition from usage.ledger, from as far back as the scope needs and no further.

Several customers may be billed to one Stripe customer, and each has a partition of its own: then what the others' ledgers have of it is added.
"""

import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from metering.following.customers_log import CustomersLog
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.clients import KafkaSettings
from metering.kafka.ledger_log import ledger_since
from metering.kafka.partition_log import LogReader
from metering.reconciliation.cells import CellKey, Cells, CellScope, CustomerMeter, LedgerCells, Member
from metering.reconciliation.counted_reports import CountedReports, Pause
from metering.records.ledger_records import REPORTS_PARTITION, Entry, Rejection, decode_entry

_NOTHING: Final[Cells] = {}

ENTRIES_TILL_PAUSE: Final = 500

OnEntries = Callable[[int], None]
"""How many entries were read since the last call."""


async def no_pause(_seconds: float) -> None:
    """Go on at once."""


@dataclass(frozen=True, slots=True)
class PartitionCells:
    """The cells of one partition, and the error reports since then that may be about it. `latest`: customers and meters with latest values in the
    range, which are in no cell: Stripe's sums say nothing of them.
    """

    cells: Cells
    rejections: Sequence[Rejection]
    members: Mapping[CellKey, Sequence[Member]] = field(default_factory=dict)
    latest: frozenset[CustomerMeter] = frozenset()

    def with_those(self, others: "PartitionCells") -> "PartitionCells":
        """With what another partition has of the same Stripe customers."""
        cells, members = dict(self.cells), dict(self.members)
        for key, cell in others.cells.items():
            cells[key] = cells[key].with_that(cell) if key in cells else cell
        for key, found in others.members.items():
            members[key] = [*members.get(key, ()), *found]
        return PartitionCells(cells, [*self.rejections, *others.rejections], members, self.latest | others.latest)


class LedgerCellReader:
    """Reads usage.ledger. Every method may raise LogUnavailable or FailClosed; close it in the end."""

    def __init__(self, kafka: KafkaSettings, *, pause: Pause = no_pause) -> None:
        self._topic = kafka.topics.ledger.name
        self._pause = pause
        self._partitions = kafka.partitions
        self._reader = LogReader(kafka, "reconcile")
        self._customers = CustomersLog(self._reader, kafka.topics.customers.name)
        self._counted = CountedReports(self._reader, self._topic, pause=pause)

    async def close(self) -> None:
        """Close the connection."""
        await self._reader.close()

    async def read(
        self, partition: int, scope: CellScope, on_entries: OnEntries = lambda _count: None, *, sought: Collection[CellKey] = ()
    ) -> PartitionCells:
        """The cells of one partition as the ledger stands now; of a cell that is `sought`, the meter events are listed.

        Blocks on Kafka; reads the range of the scope twice, and that of all partitions if a customer was ever linked to a Stripe customer in it.
        """
        await self._customers.read_on()
        found = await self._read_one(partition, scope, on_entries, sought=sought)
        shared = self._customers.links.ever_linked & ({key.customer for key in found.cells} if scope.customers is None else scope.customers)
        if shared and scope.billed_for is None:
            narrowed = replace(scope, customers=frozenset(shared))
            for other in range(self._partitions):
                if other != partition:
                    found = found.with_those(await self._read_one(other, narrowed, on_entries, sought=sought))
        if partition == REPORTS_PARTITION:
            return found
        return replace(found, rejections=[*found.rejections, *await self.counted_reports(scope.told_from_ms)])

    async def _read_one(self, partition: int, scope: CellScope, on_entries: OnEntries, *, sought: Collection[CellKey]) -> PartitionCells:
        start, end = await self._reader.bounds(self._topic, partition)
        begin, ledger = await ledger_since(self._reader, self._topic, partition, scope.told_from_ms, start=start, end=end)
        if begin >= end:
            return PartitionCells(_NOTHING, ())
        cells = LedgerCells(scope, ledger, sought)
        async with aclosing(self._entries(partition, begin, end, on_entries)) as entries:
            async for _, _, entry in entries:
                cells.foresee(entry)
        async with aclosing(self._entries(partition, begin, end, on_entries)) as entries:
            async for offset, log_time_ms, entry in entries:
                cells.fold(offset, log_time_ms, entry)
        return PartitionCells(cells.finish(), cells.rejections, cells.members, frozenset(cells.latest))

    async def counted_reports(self, since_ms: int) -> Sequence[Rejection]:
        """The error reports since then that count more than they name, of whatever partition. Blocks on Kafka; reads the log once."""
        return await self._counted.read(since_ms)

    async def _entries(self, partition: int, begin: int, end: int, on_entries: OnEntries) -> AsyncGenerator[tuple[int, int, Entry], None]:
        count, began = 0, time.thread_time()
        async with aclosing(chain_records(self._reader, PartitionPlace(self._topic, partition), begin, end, decode_entry)) as entries:
            async for entry in entries:
                yield entry
                count += 1
                if count == ENTRIES_TILL_PAUSE:
                    on_entries(count)
                    await self._pause(time.thread_time() - began)
                    count, began = 0, time.thread_time()
        on_entries(count)
