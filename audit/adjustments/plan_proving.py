"""Derives the rows of the log's plans again, and checks their parts by them. Reads usage.events once for each plan, where it is about them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import aclosing

from audit.adjustments.opposite_parts import opposite_parts
from audit.adjustments.plan_book import LoggedPlan, PlanBook
from audit.adjustments.plan_check import CheckedPlan, DerivedDigests, check_plans
from audit.adjustments.plan_derivation import DERIVED_KINDS, PlanDerivation
from audit.adjustments.plan_reading import PlanLog
from audit.adjustments.plan_scope import earlier_plans
from audit.decoder.home_partition import home_of
from metering.kafka.chain_records import PartitionPlace
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.current_period import BroughtForward
from metering.plans.plan_header import PlanHeader
from metering.records.adjustment import AdjustmentKind, part_digest
from metering.records.fail_closed import HistoryLost


async def prove_plans(kafka: KafkaSettings, book: PlanBook, names: Collection[str]) -> Sequence[CheckedPlan]:
    """These plans of a book that has all partitions whole. Blocks on Kafka; raises LogUnavailable or FailClosed. Memory: one part."""
    book.finish()
    derived: dict[str, Mapping[int, DerivedDigests]] = {}
    events, tallies = LogReader(kafka, "plans-events"), LogReader(kafka, "plans-tallies")
    try:
        log = PlanLog(events, tallies, kafka.topics)
        for plan in book.in_order():
            header = plan.header
            if plan.plan not in names or header is None or _is_forged(plan):
                continue
            if header.rule.kind is AdjustmentKind.REVERT:
                derived[plan.plan] = await _opposite(tallies, kafka.topics.tallies.name, book, header)
            elif header.rule.kind in DERIVED_KINDS:
                inside = [partition for partition in header.ranges if partition < kafka.partitions]
                derived[plan.plan] = {partition: await _derived(log, book, header, partition) for partition in inside}
    finally:
        await events.close()
        await tallies.close()
    checked = check_plans(book, derived, lambda customer: home_of(customer, kafka.partitions))
    return [each for each in checked if each.plan.plan in names]


def _is_forged(plan: LoggedPlan) -> bool:
    """Whether it is wrong anyway: what its header says need not make sense then."""
    return bool(plan.forged or plan.problem)


async def _derived(log: PlanLog, book: PlanBook, header: PlanHeader, partition: int) -> DerivedDigests:
    planned, found = header.ranges[partition], DerivedDigests()
    derivation = PlanDerivation(header, partition, earlier_plans(book, partition, planned.base))
    try:
        async with aclosing(log.derive(derivation, planned, header.selector.from_ms or 0, planned.start)) as steps:
            async for step in steps:
                for part in step.parts:
                    (found.moves if part.moved else found.stays).append(part_digest(part.rows))
    except HistoryLost:
        return DerivedDigests(gone=True)
    found.named = derivation.named
    return found


async def _opposite(tallies: LogReader, topic: str, book: PlanBook, header: PlanHeader) -> Mapping[int, DerivedDigests]:
    target = book.plans.get(header.rule.reverts)
    found = {}
    for partition, parts in (target.parts if target is not None else {}).items():
        rows = opposite_parts(tallies, PartitionPlace(topic, partition), parts, header.rule.into, BroughtForward())
        found[partition] = DerivedDigests([part_digest(each) async for each in rows])
    return found
