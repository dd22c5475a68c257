"""What `reconcile` notes in the ledger of a comparison, and what it proposes to mend."""

import time
from collections.abc import Mapping, Sequence
from typing import Final

from audit.refused_usage import MendState, PartitionRefusals, RefusalReader
from metering.folds.customer_links import EachItsOwn
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.reconciliation.cells import CellKey, Cells, CellScope, CustomerMeter, Member
from metering.reconciliation.comparison import ComparedCell
from metering.reconciliation.findings import findings_of
from metering.records.ledger_records import encode_entry
from metering.records.notes.evidence import FINDINGS_MAX, CellVerdict, Evidence, Finding
from taximeter.refusal_commands.correction_plan import CorrectionPlan, plan_missing, plan_refusals

INSTANCE: Final = "reconcile"
REFUSED_BEFORE_MS: Final = 36 * 86_400_000  # evidence and refusals about the cells of a scope are not older than Stripe takes usage


class EvidenceTaking:
    """One partition after the other: `begin`, `take` for each customer and meter, `end`. Blocks on Kafka; close it in the end."""

    def __init__(self, kafka: KafkaSettings, scope: CellScope, *, confirm_ms: int) -> None:
        self.plan = CorrectionPlan(int(time.time() * 1000))
        self._topic = kafka.topics.ledger.name
        self._scope = scope
        self._confirm_ms = confirm_ms
        self._reader = RefusalReader(kafka)
        self._appender = Appender(kafka, "reconcile-appender")
        self._refusals = PartitionRefusals()
        self._findings: list[Finding] = []
        self._members: dict[CellKey, Sequence[Member]] = {}

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.close()
        await self._appender.close()

    async def begin(self, partition: int) -> None:
        """Learn what evidence and refusals the partition has."""
        self._refusals = await self._reader.read(partition, int(time.time() * 1000) - REFUSED_BEFORE_MS)
        self._findings = []
        self._members = {}

    def take(self, pair: CustomerMeter, compared: Sequence[ComparedCell], cells: Cells, members: Mapping[CellKey, Sequence[Member]]) -> None:
        """One customer and meter, as it was compared just now; `members` are the meter events of cells that differ."""
        now_ms = int(time.time() * 1000)
        self._findings += findings_of(
            pair, self._scope, compared, cells, before=self._refusals.evidence, read_at_ms=now_ms, confirm_ms=self._confirm_ms
        )
        self._members.update({key: found for key, found in members.items() if CustomerMeter(key.customer, key.meter) == pair})

    async def end(self, partition: int) -> None:
        """Note the findings, and plan what they show to be missing, or decide of what was in doubt."""
        for first in range(0, len(self._findings), FINDINGS_MAX):
            evidence = Evidence(partition, INSTANCE, int(time.time() * 1000), self._findings[first : first + FINDINGS_MAX])
            await self._appender.append(self._topic, partition, encode_entry(evidence))
        self._refusals.evidence.take(self._findings)
        for found in self._findings:
            if found.verdict.differs and found.verdict is not CellVerdict.UNREADABLE:
                key = CellKey(found.customer, found.meter, found.start_ms)
                plan_missing(found, self._members.get(key, ()), self.plan)
        read = {(found.customer, found.meter) for found in self._findings}
        doubtful = [
            each
            for each in self._refusals.events
            if each.state is MendState.UNDECIDED and (each.target.event.billed, each.target.event.meter) in read
        ]
        plan_refusals(self._refusals, doubtful, self.plan, EachItsOwn())  # what is for nobody is never in doubt
