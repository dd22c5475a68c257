"""`taximeter deadletters list` and `show`: what was set aside, why, and of whom."""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson
from rich.table import Table
from taximeter_emitter.clock import SystemClock

from aggregator.dead_letters.letter_book import EventPlace, LetterBook, SetAsideState
from aggregator.dead_letters.letter_events import LetterEvent, readable_events
from aggregator.dead_letters.letter_selector import means
from aggregator.dead_letters.redriving import DeadLetterLog
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.usage_selector import UsageSelector
from metering.records.dead_letter import DeadLetter
from metering.records.fail_closed import RecordUnreadable
from metering.records.service_limits import EVENT_AGE_MAX_MS
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, OK
from taximeter.selection import selector_of
from taximeter.stripe_commands.running import console, print_json, shown

GROUPS_SHOWN: Final = 200
VALUE_CHARS_SHOWN: Final = 2_000


class FoundEvent(NamedTuple):
    """A set-aside event that was selected."""

    partition: int
    place: EventPlace
    letter: DeadLetter
    event: LetterEvent | None
    state: SetAsideState


def list_groups(arguments: argparse.Namespace) -> int:
    """How much was set aside, why, and of whom.

    Exit code 2 when something is open or cannot be read, 0 otherwise.
    """
    unread: list[str] = []

    async def read(kafka: KafkaSettings) -> list[dict[str, Any]]:
        groups: defaultdict[tuple[str, ...], list[FoundEvent]] = defaultdict(list)
        async for found in _selected(kafka, selector_of(arguments), unread):
            groups[tuple(_column(found, name) for name in arguments.by)].append(found)
        ordered = sorted(groups.items(), key=lambda entry: (-len(entry[1]), entry[0]))
        return [dict(zip(arguments.by, names, strict=True)) | _sums(found) for names, found in ordered]

    def tell(groups: list[dict[str, Any]]) -> int:
        if arguments.json:
            print_json({"schema": "taximeter.deadletters/1", "groups": groups, "unread": unread})
        else:
            _show_groups(groups, arguments.by)
        _tell_unread(unread)
        return DISCREPANCY if unread or any(group["open"] for group in groups) else OK

    return _answered(arguments, read, tell)


def show(arguments: argparse.Namespace) -> int:
    """The events, and what was wrong with each.

    Exit code 2 when one of them is open, or when something cannot be read.
    """
    unread: list[str] = []

    async def read(kafka: KafkaSettings) -> list[FoundEvent]:
        found = []
        async for each in _selected(kafka, selector_of(arguments), unread):
            if arguments.all or each.state in {SetAsideState.OPEN, SetAsideState.UNSETTLED, SetAsideState.DOUBTFUL}:
                found.append(each)
                if len(found) >= arguments.limit:
                    break
        return found

    def tell(found: list[FoundEvent]) -> int:
        if arguments.json:
            print_json({"schema": "taximeter.deadletters/1", "events": [as_json(each) for each in found], "unread": unread})
        else:
            for each in found:
                _show_one(each)
            if len(found) >= arguments.limit:
                print(f"These are the first {arguments.limit}; --limit shows more.")
        _tell_unread(unread)
        return DISCREPANCY if unread or any(each.state is SetAsideState.OPEN for each in found) else OK

    return _answered(arguments, read, tell)


def selected_of(book: LetterBook, selector: UsageSelector) -> Iterator[FoundEvent]:
    """The events of a partition that a selector means."""
    read: dict[int, dict[int, LetterEvent]] = {}
    for place, at, state in book.places():
        if at.offset not in read:
            read[at.offset] = {event.at: event for event in readable_events(at.letter)}
        event = read[at.offset].get(place.at)
        if means(selector, place, at.letter, event):
            yield FoundEvent(book.partition, place, at.letter, event, state)


def as_json(found: FoundEvent) -> dict[str, Any]:
    """One event for `--json`; what cannot be read has no content but its bytes."""
    letter, event = found.letter, found.event
    content = None
    if event is not None:
        content = {
            "customer": event.customer,
            "time_ms": event.time_ms,
            "usage": dict(event.usage),
            "dimensions": dict(event.dimensions),
            "fingerprint": event.fingerprint.hex(),
        }
    return {
        "partition": found.partition,
        "offset": found.place.offset,
        "index": found.place.at,
        "state": found.state,
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail,
        "source": letter.origin.source or letter.origin.emitter,
        "api_key": letter.api_key,
        "log_time_ms": letter.log_time_ms,
        "event": content,
        "value": None if event is not None else (letter.value or b"")[:VALUE_CHARS_SHOWN].decode(errors="backslashreplace"),
    }


async def _selected(kafka: KafkaSettings, selector: UsageSelector, unread: list[str]) -> AsyncIterator[FoundEvent]:
    """`unread` gets what is left out, because it is damaged."""
    reader = LogReader(kafka, "deadletters")
    try:
        log = DeadLetterLog(reader, kafka.topics, partitions=kafka.partitions, clock=SystemClock())
        for partition in sorted(selector.partitions) or range(kafka.partitions):

            def left_out(start: int, end: int, error: RecordUnreadable, partition: int = partition) -> None:
                unread.append(f"partition {partition}: dead letters {start} to {end - 1} cannot be read: {error}")

            for found in selected_of(await log.read(partition, left_out), selector):
                yield found
    finally:
        await reader.close()


def _answered(arguments: argparse.Namespace, read: Any, tell: Any) -> int:
    kafka = kafka_settings(arguments)

    async def command() -> int:
        return int(tell(await read(kafka)))

    return run_on_logs(command())


def _tell_unread(unread: Sequence[str]) -> None:
    for each in unread:
        print(f"{each}. What a redrive in it may have taken back is shown as doubtful", file=sys.stderr)


def _column(found: FoundEvent, name: str) -> str:
    letter, event = found.letter, found.event
    match name:
        case "reason":
            return letter.reason.value
        case "field":
            return letter.field
        case "source":
            return letter.origin.source or letter.origin.emitter
        case "key":
            return letter.api_key
        case "customer":
            return event.customer if event is not None else ""
        case "day":
            return datetime.fromtimestamp(letter.log_time_ms / 1000, UTC).strftime("%Y-%m-%d")
        case _:
            return str(found.partition)


def _sums(found: list[FoundEvent]) -> dict[str, Any]:
    states = Counter(each.state for each in found)
    usage: Counter[str] = Counter()
    for each in found:
        if each.event is not None and each.state is SetAsideState.OPEN:
            usage.update(dict(each.event.usage))
    times = [each.event.time_ms for each in found if each.event is not None and each.state is SetAsideState.OPEN]
    return {
        "events": len(found),
        **{state.value: states[state] for state in SetAsideState},
        "customers": len({each.event.customer for each in found if each.event is not None}),
        "usage": dict(sorted(usage.items())),
        "oldest_log_time_ms": min(each.letter.log_time_ms for each in found),
        "billable_until_ms": min(times) + EVENT_AGE_MAX_MS if times else None,
    }


def _show_groups(groups: list[dict[str, Any]], by: tuple[str, ...]) -> None:
    if not groups:
        print("nothing is set aside")
        return
    out, table = console(), Table()
    for name in by:
        table.add_column(name, overflow="fold")
    for name in ("events", "open", "taken back", "customers", "units that are open", "oldest", "billable until"):
        table.add_column(name, justify="left" if name in {"oldest", "billable until", "units that are open"} else "right")
    for group in groups[:GROUPS_SHOWN]:
        until = group["billable_until_ms"]
        numbers = (group["events"], group["open"] + group["unsettled"] + group["doubtful"], group["redriven"] + group["known"], group["customers"])
        usage = ", ".join(f"{quantity:,} {name}" for name, quantity in list(group["usage"].items())[:5])
        times = (shown(group["oldest_log_time_ms"] // 1000), shown(None if until is None else until // 1000))
        table.add_row(*(group[name] or "-" for name in by), *(f"{number:,}" for number in numbers), usage or "-", *times)
    out.print(table)
    if len(groups) > GROUPS_SHOWN:
        print(f"and {len(groups) - GROUPS_SHOWN:,} more groups; see --json")
    if any(group["open"] for group in groups):
        print("Look at them: taximeter deadletters show. Take them back: taximeter deadletters redrive --dry-run, with the same options")


def _show_one(found: FoundEvent) -> None:
    letter, event = found.letter, found.event
    where = f"partition {found.partition}, offset {found.place.offset}" + (f" [{found.place.at}]" if letter.indexes else "")
    print(f"{where}, {shown(letter.log_time_ms // 1000)}, {found.state}: {letter.reason}, {letter.field or 'the record'}: {letter.detail}")
    if event is not None:
        document = as_json(found)["event"] | {"source": letter.origin.source or letter.origin.emitter, "time": shown(event.time_ms // 1000)}
        print(f"  {orjson.dumps(document).decode()}")
    else:
        print(f"  {(letter.value or b'')[:VALUE_CHARS_SHOWN].decode(errors='backslashreplace')}")
