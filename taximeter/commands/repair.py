"""`taximeter repair`: let a partition go on that stopped because events are gone, or because code fails over a record."""

import argparse
from collections.abc import Callable, Coroutine
from typing import Final

import orjson
from taximeter_emitter.clock import SystemClock

from aggregator.repair import AcceptingLoss, Lost, NothingAccepted
from aggregator.settings import AggregatorSettings
from aggregator.stepping_over import NothingSteppedOver, Step, SteppingOver
from metering.kafka.chain_records import PartitionPlace
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.passing_over import NotPassedOver, PassingOver, Undecodable
from metering.process.service_command import Configuration
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.commands.correct import moment
from taximeter.connection import configuration_of, run_on_logs
from taximeter.exit_codes import OK, USAGE

EMITTER_GAPS_SHOWN: Final = 20


def accept_loss(arguments: argparse.Namespace) -> int:
    """Accept that events of a partition are gone, so that it goes on.

    Exit code 0 when the loss is accepted or, without a reason, shown; 1 when nothing was accepted; 2 when the log cannot be trusted.
    """
    return _run(arguments, _accept)


def skip(arguments: argparse.Namespace) -> int:
    """Step over the record at which a partition stands, so that it goes on.

    Exit code 0 when it is stepped over, was before, or, without a reason, is shown; 1 when nothing was done; 2 when the log cannot be trusted.
    """
    return _run(arguments, _skip)


def _run(arguments: argparse.Namespace, repair: Callable[[argparse.Namespace, Configuration], Coroutine[None, None, int]]) -> int:
    configuration = configuration_of(arguments, {"kafka": KafkaSettings, "aggregator": AggregatorSettings})
    if told(_problems(arguments, configuration.of(KafkaSettings))):
        return USAGE
    return run_on_logs(repair(arguments, configuration), refusals=(NothingAccepted, NothingSteppedOver, NotPassedOver))


def _problems(arguments: argparse.Namespace, kafka: KafkaSettings) -> list[str]:
    problems = []
    if not 0 <= arguments.partition < kafka.partitions:
        problems.append(f"there is no partition {arguments.partition}: there are {kafka.partitions}, from 0")
    return problems if arguments.reason is None else problems + writing_problems(arguments)


async def _accept(arguments: argparse.Namespace, configuration: Configuration) -> int:
    kafka = configuration.of(KafkaSettings)
    horizon_ms = round(configuration.of(AggregatorSettings).deduplication_horizon_seconds * 1000)
    reader, appender = LogReader(kafka, "repair-reader"), Appender(kafka, "repair-appender")
    try:
        accepting = AcceptingLoss(reader, kafka.topics, arguments.partition, horizon_ms=horizon_ms, clock=SystemClock())
        lost = await accepting.find()
        if not arguments.json:
            _show(lost)
        offset = await _if_agreed(arguments, accepting, lost, appender) if arguments.reason is not None else None
        if arguments.json:
            print(orjson.dumps({**lost.as_json(), "accepted_at_offset": offset}, option=orjson.OPT_INDENT_2).decode())
        elif offset is not None:
            print(f"tally {offset} of partition {lost.partition} accepts it; an aggregator that stopped goes on within seconds")
        elif arguments.reason is None:
            print("nothing was done; to accept it, say --reason and, if you are asked to, --ids")
        return OK
    finally:
        await reader.close()
        await appender.close()


async def _if_agreed(arguments: argparse.Namespace, accepting: AcceptingLoss, lost: Lost, appender: Appender) -> int:
    if lost.ids_matter and not arguments.ids:
        raise NothingAccepted(
            f"events may repeat ids that were counted before {moment(lost.ids_from_ms)} and are not known: add --ids to accept that those with an id"
            " that cannot be checked are set aside as past_horizon"
        )
    if not arguments.yes and not agreed("Accept that it is never billed?"):
        raise NothingAccepted("nothing was done")
    return await accepting.accept(lost, appender, reason=arguments.reason, by=author(arguments))


async def _skip(arguments: argparse.Namespace, configuration: Configuration) -> int:
    kafka = configuration.of(KafkaSettings)
    if arguments.topic != "events":
        return await _pass_over(arguments, kafka)
    reader, appender = LogReader(kafka, "repair-reader"), Appender(kafka, "repair-appender")
    try:
        stepping = SteppingOver(reader, kafka.topics, arguments.partition, clock=SystemClock())
        step = await stepping.find(arguments.offset)
        if not arguments.json:
            _show_step(step)
        offset = None
        if arguments.reason is not None and step.done is None:
            if not arguments.yes and not agreed("Step over it?"):
                raise NothingSteppedOver("nothing was done")
            offset = await stepping.apply(step, appender, reason=arguments.reason, by=author(arguments))
        if arguments.json:
            print(orjson.dumps({**step.as_json(), "stepped_over_at_offset": offset}, option=orjson.OPT_INDENT_2).decode())
        elif offset is not None:
            print(f"tally {offset} of partition {step.partition} steps over it; an aggregator that stopped there goes on within seconds")
        elif step.done is None:
            print("nothing was done; to step over it, say --reason")
        return OK
    finally:
        await reader.close()
        await appender.close()


async def _pass_over(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    is_ledger = arguments.topic == "ledger"
    place = PartitionPlace((kafka.topics.ledger if is_ledger else kafka.topics.tallies).name, arguments.partition)
    reader, appender = LogReader(kafka, "repair-reader"), Appender(kafka, "repair-appender")
    try:
        passing = PassingOver(reader, place, is_ledger=is_ledger, clock=SystemClock())
        found = await passing.find(arguments.offset)
        if not arguments.json:
            _show_undecodable(place, found)
        offset = None
        if arguments.reason is not None and found.done is None:
            if not arguments.yes and not agreed("Pass over it?"):
                raise NotPassedOver("nothing was done")
            offset = await passing.apply(found, appender, reason=arguments.reason, by=author(arguments))
        if arguments.json:
            print(orjson.dumps({**found.as_json(), "passed_over_at_offset": offset}, option=orjson.OPT_INDENT_2).decode())
        elif offset is not None:
            print(f"offset {offset} of {place.topic}/{place.partition} says that it is passed over; what stopped there goes on within seconds")
        elif found.done is None:
            print("nothing was done; to pass over it, say --reason")
        return OK
    finally:
        await reader.close()
        await appender.close()


def _show_undecodable(place: PartitionPlace, found: Undecodable) -> None:
    where, told_of = f"offset {found.record.offset:,} of {place.topic}/{place.partition}", found.as_json()
    if found.done is not None:
        print(f"{where} was passed over by {found.done.by} at {moment(found.done.at_ms)}: {found.done.reason}")
        return
    print(f"{where}: a record of {told_of['value_bytes']:,} bytes, logged at {moment(found.record.timestamp)}, that cannot be read:")
    print(f"  {found.why}")
    print(f"  it begins: {told_of['begins']}")
    print("  no reader will take anything from it, whatever its version; nothing that was accepted builds on it")
    if found.chain:
        print(f"  it says that it is of chain {found.chain}: if a newer version wrote it, go back to that version")


def _show_step(step: Step) -> None:
    where = f"partition {step.partition} stands at offset {step.start:,}"
    if step.done is not None:
        print(
            f"offset {step.start:,} of partition {step.partition} was stepped over by {step.done.by} at {moment(step.done.at_ms)}: {step.done.reason}"
        )
    elif step.record is None:
        print(f"{where}. Offsets {step.start:,} to {step.end - 1:,} cannot be read:")
        print(f"  {step.unreadable}")
        print("  how many events they hold is not known; they will never be billed, and there is nothing to send again")
    else:
        told = step.as_json()
        print(f"{where}: a record of {told['value_bytes']:,} bytes, logged at {moment(step.record.timestamp)}")
        print(f"  it says that it holds {step.events:,} events; they are not billed, and the record becomes a dead letter (stepped_over)")
        for name in ("source", "emitter"):
            if told[name]:
                print(f"  {name}: {told[name]}")
        if told["customers"]:
            print(f"  customers: {', '.join(told['customers'])}")


def _show(lost: Lost) -> None:
    if lost.records:
        print(f"partition {lost.partition} lost {lost.records:,} records before they were counted: offsets {lost.start:,} to {lost.end - 1:,}")
    else:
        print(f"partition {lost.partition} lost no event that was not counted")
    print(f"  counted up to log time {_moment(lost.last_counted_ms)}; the first event that is kept was logged at {_moment(lost.first_kept_ms)}")
    for gap in lost.emitters[:EMITTER_GAPS_SHOWN]:
        numbers = f"from {gap.first:,} on, and the end is not known" if gap.last is None else f"{gap.first:,} to {gap.last:,}"
        print(f"  emitter {gap.emitter}: the numbers {numbers}")
    if len(lost.emitters) > EMITTER_GAPS_SHOWN:
        print(f"  and {len(lost.emitters) - EMITTER_GAPS_SHOWN:,} emitters more; see --json")
    if lost.ids_matter:
        print(f"  ids are known of events of {moment(lost.ids_from_ms)} and later; with --ids, older ones are set aside as past_horizon")
    if lost.head.losses.records:
        print(f"  {lost.head.losses.records:,} records of this partition were accepted as lost before")


def _moment(time_ms: int | None) -> str:
    return "(none)" if time_ms is None else moment(time_ms)
