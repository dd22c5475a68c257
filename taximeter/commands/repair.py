"""`taximeter repair`: let a partition go on that stopped because events are gone, or because code fails over a record."""

import argparse
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol, TypeVar

import orjson
from taximeter_emitter.clock import SystemClock

from aggregator.repair import AcceptingLoss, Lost, NothingAccepted
from aggregator.settings import AggregatorSettings
from aggregator.stepping_over import NothingSteppedOver, Step, SteppingOver
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.kafka.passing_over import DamagedBatch, NotPassedOver, PassingOver, Undecodable
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
    reader, appender = LogReader(kafka, "repair-reader"), Appender(kafka, "repair-appender")
    try:
        if arguments.topic == "events":
            return await _course(arguments, SteppingOver(reader, kafka.topics, arguments.partition, clock=SystemClock()), appender)
        is_ledger = arguments.topic == "ledger"
        return await _course(arguments, PassingOver(reader, kafka.topics, arguments.partition, is_ledger=is_ledger, clock=SystemClock()), appender)
    finally:
        await reader.close()
        await appender.close()


class _Found(Protocol):
    @property
    def done(self) -> object | None: ...

    def as_json(self) -> dict[str, Any]: ...


_FoundT = TypeVar("_FoundT", bound=_Found)


class _Repair(Protocol[_FoundT]):
    """See SteppingOver and PassingOver."""

    async def find(self, offset: int) -> _FoundT: ...

    async def apply(self, found: _FoundT, appender: Appender, *, reason: str, by: str) -> int: ...


async def _course(arguments: argparse.Namespace, repair: _Repair[_FoundT], appender: Appender) -> int:
    """Find what stands there, show it, ask, write."""
    found = await repair.find(arguments.offset)
    where = f"{arguments.topic}/{arguments.partition}"
    if not arguments.json:
        print("\n  ".join(_lines(found, where)))
    offset = None
    if arguments.reason is not None and found.done is None:
        if not arguments.yes and not agreed("Step over it?"):
            raise NothingSteppedOver("nothing was done")
        offset = await repair.apply(found, appender, reason=arguments.reason, by=author(arguments))
    if arguments.json:
        print(orjson.dumps({**found.as_json(), "decided_at_offset": offset}, option=orjson.OPT_INDENT_2).decode())
    elif offset is not None:
        decided_in = "tallies" if arguments.topic == "events" else arguments.topic
        print(f"offset {offset} of {decided_in}/{arguments.partition} says that it is stepped over; what stopped there goes on within seconds")
    elif found.done is None:
        print("nothing was done; to step over it, say --reason")
    return OK


def _lines(found: _Found, where: str) -> list[str]:
    """What stands there, the first line for all."""
    match found:
        case Step():
            return _step_lines(found)
        case Undecodable():
            return _undecodable_lines(found, where)
        case DamagedBatch():
            return _damaged_lines(found, where)
    raise AssertionError(found)


def _undecodable_lines(found: Undecodable, where: str) -> list[str]:
    at, told_of = f"offset {found.record.offset:,} of {where}", found.as_json()
    if found.done is not None:
        return [f"{at} was passed over by {found.done.by} at {moment(found.done.at_ms)}: {found.done.reason}"]
    lines = [
        f"{at}: a record of {told_of['value_bytes']:,} bytes, logged at {moment(found.record.timestamp)}, that cannot be read:",
        found.why,
        f"it begins: {told_of['begins']}",
        "no reader will take anything from it, whatever its version; nothing that was accepted builds on it",
    ]
    if found.chain:
        lines.append(f"it says that it is of chain {found.chain}: if a newer version wrote it, go back to that version")
    return lines


def _damaged_lines(found: DamagedBatch, where: str) -> list[str]:
    at = f"offsets {found.start:,} to {found.end - 1:,} of {where}"
    if found.done is not None:
        return [f"{at} were passed over by {found.done.by} at {moment(found.done.at_ms)}: {found.done.reason}"]
    lines = [f"{at}: a batch that cannot be read:", found.why]
    if found.is_too_large:
        return [*lines, "no version of Taximeter writes such a batch; no reader will take anything from it"]
    return [
        *lines,
        "if another broker has a sound copy, let that broker lead, and do nothing here",
        "no reader will take anything from it, also if it can be read again; nothing that can be read builds on it, or has reported it",
        "tallies in it are counted again from their events; of corrections, adjustments and outcomes in it nothing is known any more",
    ]


def _step_lines(step: Step) -> list[str]:
    where = f"partition {step.partition} stands at offset {step.start:,}"
    if step.done is not None:
        at = f"offset {step.start:,} of partition {step.partition}"
        return [f"{at} was stepped over by {step.done.by} at {moment(step.done.at_ms)}: {step.done.reason}"]
    if step.record is None:
        return [
            f"{where}. Offsets {step.start:,} to {step.end - 1:,} cannot be read:",
            step.unreadable,
            "how many events they hold is not known; they will never be billed, and there is nothing to send again",
        ]
    told_of = step.as_json()
    lines = [
        f"{where}: a record of {told_of['value_bytes']:,} bytes, logged at {moment(step.record.timestamp)}",
        f"it says that it holds {step.events:,} events; they are not billed, and the record becomes a dead letter (stepped_over)",
    ]
    lines += [f"{name}: {told_of[name]}" for name in ("source", "emitter") if told_of[name]]
    return lines + ([f"customers: {', '.join(told_of['customers'])}"] if told_of["customers"] else [])


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
