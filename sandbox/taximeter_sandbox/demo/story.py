"""The demo from beginning to end: set up, load, kill, settle, replay, compare."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from taximeter_emitter.clock import SystemClock

from audit.positions import Positions, all_settled
from audit.verification.report import Report
from audit.verification.verdict import verdict_of
from audit.verification.verifier import verify
from taximeter_sandbox.brokers.interface import RunnableBroker
from taximeter_sandbox.demo.books import ExpectedBooks, expected_books
from taximeter_sandbox.demo.closing import Outcome, compare, log_problems, shown_by_console
from taximeter_sandbox.demo.installation import AGGREGATORS, CONSOLE, GATEWAY, REPORTERS, SERVICES, WORKERS, Installation
from taximeter_sandbox.demo.load.load_orders import LoadOrder, read_progress
from taximeter_sandbox.demo.load.load_plan import load_commands, load_orders
from taximeter_sandbox.demo.organisations import link, linked_late, organisations
from taximeter_sandbox.demo.plan import PARTITIONS, Plan
from taximeter_sandbox.demo.processes import Fleet
from taximeter_sandbox.demo.replay import copy_topic, reset_group
from taximeter_sandbox.demo.stripe_side import StripeSide, StripeTraffic, start_simulator
from taximeter_sandbox.demo.view import View
from taximeter_sandbox.demo.watching import Watch, total

LINKED_LATE_AT: Final = 0.7  # share of the load
KILLS: Final = ((0.30, AGGREGATORS[1]), (0.55, REPORTERS[0]))
DOWN_SECONDS: Final = 3.0
POLL_SECONDS: Final = 0.3


class DidNotSettle(Exception):
    """The pipeline did not come to rest in time."""


@dataclass(slots=True)
class Demo:
    """One run in a folder of its own. `stripe` None: the simulator is started too. Everything started is ended by `close`."""

    plan: Plan
    folder: Path
    broker: RunnableBroker
    view: View
    prefix: str
    stripe: StripeSide | None = None
    fleet: Fleet = field(init=False)
    installation: Installation = field(init=False)
    billed: dict[str, str] = field(default_factory=dict)  # the Stripe customer of each organisation
    positions: Positions | None = None
    orders: Sequence[LoadOrder] = ()
    watch: Watch | None = None
    facts: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    _watching: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        self.fleet = Fleet(self.folder)

    async def close(self) -> None:
        """End all processes. Blocks some seconds for the broker's orderly stop."""
        if self._watching is not None:
            self._watching.cancel()
        if self.positions is not None:
            await self.positions.close()
        self.fleet.kill_all()
        await asyncio.to_thread(self.broker.stop)

    async def run(self) -> Outcome:
        """Everything. Raises processes.ProcessFailed, DidNotSettle, BrokerUnavailable, and what Kafka's and Stripe's libraries raise."""
        await self._set_up()
        await self._load()
        await self._settle("settling: what is in Kafka is counted, reported and receipted")
        expected = asyncio.create_task(asyncio.to_thread(expected_books, [order.journal for order in self.orders]))
        self.view.phase("verifying: the three topics are read again and compared with each other")
        report = await verify(self.installation.kafka)
        await self._ask_console(report)
        await self._replay(report)
        books = await expected
        books.bill_to(self.billed)
        self.view.phase("comparing: the journals of the load with Stripe's books")
        assert self.stripe is not None
        wanted = {(name, customer): units for name, line in books.meters.items() for customer, units in line.by_customer.items()}
        in_stripe = await self.stripe.books(wanted)
        self._tell_facts(report, books)
        return Outcome(meters=compare(books, report, in_stripe), problems=[*self.problems, *log_problems(books, report)], facts=self.facts)

    def addresses(self) -> dict[str, str]:
        """Where everything is while it runs."""
        found = {"Kafka": self.installation.bootstrap_servers, "topics": f"{self.prefix}.*", GATEWAY: f"{self.installation.gateway_url}/v1/events"}
        found["console"] = self.installation.console_url
        found |= {f"{name} (admin)": f"{url}/metrics" for name, url in self.installation.admin_urls.items()}
        assert self.stripe is not None
        return {**found, "Stripe": self.stripe.describe(), "files": str(self.folder), "API key": str(self.installation.api_key_file)}

    # Setting up

    async def _set_up(self) -> None:
        self.view.phase(f"starting {self.broker.describe()}")
        bootstrap_servers = await asyncio.to_thread(self.broker.start)
        if self.stripe is None:
            self.stripe = await start_simulator(self.fleet, self.folder, seed=self.plan.seed)
        self.view.say(f"setting up {self.stripe.describe()}")
        self.billed = organisations(await self.stripe.set_up(self.plan.customers))
        self.installation = Installation(
            folder=self.folder, fleet=self.fleet, plan=self.plan, bootstrap_servers=bootstrap_servers, prefix=self.prefix, stripe=self.stripe
        )
        self.positions = Positions(self.installation.kafka, SystemClock())
        self.installation.prepare()
        self.view.say("starting " + ", ".join(SERVICES))
        await self.installation.start(SERVICES)
        await self.installation.wait_until_ready(SERVICES)
        await self.installation.start([CONSOLE])
        self.view.say(f"the console shows what comes in: {self.installation.console_url}")
        late = linked_late(list(self.billed))
        await self._link([name for name in self.billed if name not in set(late)])
        self.view.say(f"linked {len(self.billed) - len(late):,} organisations to customers of Stripe; {len(late):,} are linked under load")
        self.orders = load_orders(self.plan, self.installation, list(self.billed))
        self.watch = Watch(self.installation, self.stripe, self.orders)
        self._watching = asyncio.create_task(self.watch.run(), name="watch")
        self.view.watch(self.watch, self.plan.events)

    # Load and kills

    async def _load(self) -> None:
        commands = load_commands(self.orders, self.folder)
        self.view.phase(f"load: {self.plan.events:,} events of {self.plan.customers:,} customers from {len(commands)} processes")
        began = time.monotonic()
        for command in commands:
            self.fleet.start(command)
        killing = asyncio.create_task(self._kill_in_the_middle(), name="kills")
        try:
            while not all(read_progress(order.progress).done for order in self.orders):
                self.fleet.check()
                if killing.done():
                    killing.result()
                await asyncio.sleep(POLL_SECONDS)
            await killing
        finally:
            killing.cancel()
        for name, code in (await self.fleet.join([command.name for command in commands])).items():
            if code:
                self.problems.append(f"{name} ended with exit code {code}; its log is {self.fleet.log(name)}")
        self.problems += [f"{order.name}: {failure}" for order in self.orders if (failure := read_progress(order.progress).failure)]
        seconds = time.monotonic() - began
        self.facts["load"] = f"{self.plan.events:,} events in {seconds:.0f} s"
        self.view.say(f"the load is done after {seconds:.0f} s; the gateway drains and says how many events it sent")
        await self.installation.stop([GATEWAY])

    async def _kill_in_the_middle(self) -> None:
        for share, name in KILLS:
            await self._until_emitted(share)
            pid = self.fleet.pid(name)
            await asyncio.to_thread(self.installation.kill, name)
            self.view.say(f"killed {name} (process {pid}) with SIGKILL")
            await asyncio.sleep(DOWN_SECONDS)
            await self.installation.start([name])
            self.view.say(f"started {name} again")
        await self._until_emitted(LINKED_LATE_AT)
        late = linked_late(list(self.billed))
        await self._link(late)
        self.view.say(f"linked the other {len(late):,} organisations: what they used so far was held, and is reported now")
        self.facts["killed"] = ", ".join(name for _, name in KILLS) + " with SIGKILL under load, and started again"

    async def _link(self, names: Sequence[str]) -> None:
        if names:
            await link({name: self.billed[name] for name in names}, self.folder / f"links-{names[0]}.csv", self.installation.kafka)

    async def _until_emitted(self, share: float) -> None:
        while True:
            emitted = sum(read_progress(order.progress).emitted for order in self.orders)
            if emitted >= share * self.plan.events:
                return
            await asyncio.sleep(POLL_SECONDS)

    # Coming to rest

    async def _settle(self, title: str) -> None:
        """Wait until the log itself says that nothing is on its way."""
        self.view.phase(title)
        assert self.positions is not None
        deadline = time.monotonic() + self.plan.settle_seconds
        found = None
        while time.monotonic() < deadline:
            self.fleet.check()
            found = await self.positions.read()
            stopped = [f"partition {each.partition}: {each.problem}" for each in found if each.problem]
            if stopped:
                raise DidNotSettle("; ".join(stopped))
            if all_settled(found):
                return
            await asyncio.sleep(POLL_SECONDS)
        rest = "Kafka did not answer"
        if found is not None:
            uncounted, rows, waiting = (sum(getattr(each, name) for each in found) for name in ("uncounted", "uncovered_rows", "open_meter_events"))
            rest = f"{uncounted} records uncounted, {rows} sums unreported, {waiting} meter events without an outcome"
        raise DidNotSettle(f"not at rest after {self.plan.settle_seconds:.0f} s: {rest}")

    async def _ask_console(self, report: Report) -> None:
        """What it shows must be what was verified."""
        wanted = {name: (totals.counted, totals.reported) for name, totals in report.meters.items()}
        found = await shown_by_console(self.installation.console_url, wanted)
        if found != wanted:
            self.problems.append(f"the console shows {found}, by meter counted and reported, and verified are {wanted}")
        self.facts["console"] = f"shows the same at {self.installation.console_url}" if found == wanted else "shows something else"

    # Replay

    async def _replay(self, before: Report) -> None:
        """Stop everything, lose every offset, start again; then write the whole topic a second time. Neither may cost a call."""
        assert self.stripe is not None
        kafka = self.installation.kafka
        traffic = await self.stripe.traffic()
        self.view.phase("replay: all services stop, every consumer group goes back to the start of its topic")
        await self.installation.stop(WORKERS)
        aggregators, reporters = self.installation.groups
        records = await reset_group(kafka, group_id=aggregators, topic=kafka.topics.events.name)
        tallies = await reset_group(kafka, group_id=reporters, topic=kafka.topics.tallies.name)
        await self.installation.start(SERVICES)
        await self.installation.wait_until_ready(SERVICES)
        await self._wait_for_partitions()
        await self._settle(f"replay: {records:,} records and {tallies:,} tallies lie behind the groups")
        await asyncio.sleep(2 * self.plan.pace.report)
        calls = _calls_between(traffic, await self.stripe.traffic())
        self._judge_replay("groups reset to the start, services restarted", calls)
        self.view.phase("replay: every record of usage.events is written a second time")
        copied = await copy_topic(kafka, kafka.topics.events.name)
        await self._settle(f"replay: {copied:,} records are there twice now")
        await asyncio.sleep(2 * self.plan.pace.report)
        calls = _calls_between(traffic, await self.stripe.traffic())
        self._judge_replay(f"all {copied:,} records of usage.events written again", calls)
        after = await verify(kafka)
        for name, totals in before.meters.items():
            again = after.meters[name]
            if (again.counted, again.reported) != (totals.counted, totals.reported):
                self.problems.append(f"after the replay {again.counted:,} units of {name} are counted and {again.reported:,} reported")
        if verdict_of(after).word is not verdict_of(before).word:
            self.problems.append(f"after the replay the verification of the log says {verdict_of(after).text}")

    async def _wait_for_partitions(self) -> None:
        """Until both groups own all partitions again: before that, silence proves nothing."""
        assert self.watch is not None
        deadline = time.monotonic() + self.plan.settle_seconds
        while time.monotonic() < deadline:
            self.fleet.check()
            latest = self.watch.latest
            if latest is not None:
                owned = [
                    sum(total(latest.services[name].series, metric) for name in names if latest.services[name].up)
                    for names, metric in (
                        (AGGREGATORS, "taximeter_aggregator_assigned_partitions"),
                        (REPORTERS, "taximeter_reporter_assigned_partitions"),
                    )
                ]
                if owned == [PARTITIONS, PARTITIONS]:
                    return
            await asyncio.sleep(POLL_SECONDS)
        raise DidNotSettle("the groups did not share out all partitions after the restart")

    def _judge_replay(self, what: str, calls: int | None) -> None:
        # A real Stripe does not say how often it was called; there the ledger's totals, compared below, have to do.
        fact = f"{what}: {calls} Stripe calls" if calls is not None else f"{what}: calls are not known, totals must stay"
        self.facts["replay" if "replay" not in self.facts else "replay of the topic itself"] = fact
        self.view.say(fact)
        if calls:
            self.problems.append(f"the replay made {calls} Stripe calls: {what}")

    # The end

    def _tell_facts(self, report: Report, books: ExpectedBooks) -> None:
        sent, received = sum(line.sent for line in report.emitters), sum(line.received for line in report.emitters)
        gaps = sum(line.missing for line in report.emitters)
        self.facts["numbered events"] = f"{len(report.emitters)} emitters sent {sent:,}, received {received:,}, gaps: {gaps or 'none'}"
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.dead_lettered.most_common())
        self.facts["dead letters"] = f"{report.events['dead_lettered']:,} ({reasons}); the journals say {books.totals.dead_lettered:,}"
        self.facts["duplicates"] = f"{report.events['duplicates']:,} recognised; the journals sent {books.totals.duplicates:,}"
        chain = f"{report.tallies:,} tallies over {report.records.total():,} records, unbroken; {report.intents:,} intents cover them"
        self.facts["chain"] = f"{chain}; {report.tallies_skipped + report.intents_skipped} appends of losers skipped"
        traffic = self.watch.latest.stripe if self.watch is not None and self.watch.latest is not None else None
        if traffic is not None:
            self.facts["Stripe"] = f"{traffic.calls:,} calls, {traffic.faults:,} faults injected, {traffic.duplicates:,} repeats refused"


def _calls_between(before: StripeTraffic | None, after: StripeTraffic | None) -> int | None:
    return after.calls - before.calls if before is not None and after is not None else None
