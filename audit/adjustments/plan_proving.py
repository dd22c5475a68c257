"""Derives the rows of the log's plans again, and checks their parts by them. Reads usage.events once for each plan, where it is about them."""

from collections.abc import Sequence
from contextlib import aclosing

from audit.adjustments.plan_book import LoggedPlan, PlanBook
from audit.adjustments.plan_check import CheckedPlan, DerivedDigests, check_plans
from audit.adjustments.plan_derivation import DERIVED_KINDS, PlanDerivation
from audit.adjustments.plan_reading import PlanLog
from audit.adjustments.plan_scope import earlier_plans
from audit.decoder.home_partition import home_of
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.plan_header import PlanHeader
from metering.records.adjustment import part_digest
from metering.records.fail_closed import HistoryLost


async def prove_plans(kafka: KafkaSettings, book: PlanBook) -> Sequence[CheckedPlan]:
    """Every plan of a book that has all partitions. Blocks on Kafka; raises LogUnavailable or FailClosed. Memory: one part."""
    book.finish()
    derived: dict[str, dict[int, DerivedDigests]] = {}
    events, tallies = LogReader(kafka, "plans-events"), LogReader(kafka, "plans-tallies")
    try:
        log = PlanLog(events, tallies, kafka.topics)
        for plan in book.in_order():
            header = plan.header
            if header is not None and header.rule.kind in DERIVED_KINDS:
                derived[plan.plan] = {
                    partition: await _derived(log, book, header, partition)
                    for partition in header.ranges
                    if partition < kafka.partitions and not _is_forged(plan)
                }
    finally:
        await events.close()
        await tallies.close()
    return list(check_plans(book, derived, lambda customer: home_of(customer, kafka.partitions)))


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
