"""`taximeter customers link`, `unlink` and `import`: say from now on who is billed for whom."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

from taximeter_emitter.clock import SystemClock

from metering.folds.customer_links import CustomerLinks
from metering.following.customers_log import CustomersLog
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.records.notes.customer_link import CustomerLink
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.customer_commands.held_usage import HeldUsage, read_held
from taximeter.customer_commands.link_changes import LinkChanges, LinksUnusable, changes_of, links_in, wanted_link
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, USAGE
from taximeter.refusal_commands.stripe_lookup import look_up
from taximeter.stripe_commands.running import print_json

LINKED_SCHEMA: Final = "taximeter.customers-linked/1"
WRITTEN_AT_ONCE: Final = 500
LINKS_SHOWN_MAX: Final = 20
GOES_ON: Final = "; the same command goes on with what is left"


def link(arguments: argparse.Namespace) -> int:
    """Say who is billed for a customer from now on."""
    return _run(arguments, lambda: wanted_link(arguments.customer, arguments.stripe_customer))


def import_file(arguments: argparse.Namespace) -> int:
    """Link all customers of a file."""
    return _run(arguments, lambda: links_in(arguments.file))


def unlink(arguments: argparse.Namespace) -> int:
    """Say that nobody is."""
    return _run(arguments, lambda: {arguments.customer: ""})


def _run(arguments: argparse.Namespace, wanted: Callable[[], Mapping[str, str]]) -> int:
    if told(writing_problems(arguments)):
        return USAGE
    try:
        links = wanted()
    except (LinksUnusable, OSError) as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return DISCREPANCY
    return run_on_logs(_write(arguments, kafka_settings(arguments), links), refusals=(LinksUnusable,), interrupted=GOES_ON)


async def _write(arguments: argparse.Namespace, kafka: KafkaSettings, wanted: Mapping[str, str]) -> int:
    async with LinkWriting(arguments, kafka) as writing:
        return await writing.write(wanted)


class LinkWriting:
    """Shows what links change, asks, and writes them. Every method blocks on Kafka, and raises LogUnavailable or FailClosed."""

    def __init__(self, arguments: argparse.Namespace, kafka: KafkaSettings) -> None:
        self._arguments = arguments
        self._kafka = kafka
        self._reader, self._appender = LogReader(kafka, "customers"), Appender(kafka, "customers")
        self._log = CustomersLog(self._reader, kafka.topics.customers.name)

    async def __aenter__(self) -> Self:
        await self._log.read_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._reader.close()
        await self._appender.close()

    @property
    def links(self) -> CustomerLinks:
        """Those that are there."""
        return self._log.links

    async def write(self, wanted: Mapping[str, str]) -> int:
        """The exit code. Raises LinksUnusable."""
        arguments, changes = self._arguments, changes_of(wanted, self.links)
        held = await read_held(self._reader, self._kafka, self.links, changes.new.keys()) if changes.new else {}
        if not arguments.json:
            _show(changes, held)
        if changes.to_write and told(await _objections(arguments, changes)):
            return DISCREPANCY
        if changes.to_write and not arguments.yes and not agreed():
            print("nothing was done", file=sys.stderr)
            return FAILED
        await self._append(changes)
        if arguments.json:
            print_json({"schema": LINKED_SCHEMA, "written": dict(changes.to_write), "unchanged": changes.unchanged, "held": _as_json(held)})
        elif changes.to_write:
            print(f"{len(changes.to_write):,} links are written; reporters follow within seconds")
        return OK

    async def _append(self, changes: LinkChanges) -> None:
        now_ms, reason, by, done = SystemClock().now_ms(), self._arguments.reason, author(self._arguments), 0
        links = list(changes.to_write.items())
        for first in range(0, len(links), WRITTEN_AT_ONCE):
            some = links[first : first + WRITTEN_AT_ONCE]
            await asyncio.gather(*(self._log.write(self._appender, CustomerLink(*each, reason, by, now_ms)) for each in some))
            done += len(some)
            if len(links) > WRITTEN_AT_ONCE:
                print(f"{done:,} of {len(links):,} links are written", file=sys.stderr)


async def _objections(arguments: argparse.Namespace, changes: LinkChanges) -> list[str]:
    """Stripe customers that are not there. What cannot be asked is said, and is no objection."""
    billed = {stripe_customer for stripe_customer in changes.to_write.values() if stripe_customer}
    if not billed or arguments.unchecked:
        return []
    looked = await look_up(arguments, billed, ())
    if looked.doubt:
        print(f"taximeter: not all customers were looked up at Stripe: {looked.doubt}", file=sys.stderr)
    return [f"{why}; --unchecked links all the same" for why in looked.gone.values()]


def _show(changes: LinkChanges, held: HeldUsage) -> None:
    print(changes.text())
    lines = [f"  {customer}: {after or 'nobody'}" for customer, after in changes.new.items()]
    lines += [f"  {customer}: {before} until now, {after or 'nobody'} from now on" for customer, (before, after) in changes.changed.items()]
    _print_some(lines)
    _print_some([f"  waits for it: {meter} of {customer}, {amount.text()}" for (customer, meter), amount in held.items()])


def _print_some(lines: list[str]) -> None:
    print("".join(f"{line}\n" for line in lines[:LINKS_SHOWN_MAX]), end="")
    if len(lines) > LINKS_SHOWN_MAX:
        print(f"  and {len(lines) - LINKS_SHOWN_MAX:,} more")


def _as_json(held: HeldUsage) -> list[dict[str, Any]]:
    return [{"customer": customer, "meter": meter, **amount.as_json()} for (customer, meter), amount in held.items()]
