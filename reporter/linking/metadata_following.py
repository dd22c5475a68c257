"""Follows what Stripe's customers say of themselves in a metadata field, and links customers by it, while the reporter runs.

A webhook says only whom to look at: what counts is what Stripe says when it is asked. So it does not matter how often, in which order or from whom
webhooks come. All customers are read now and then for those that were lost.
"""

import asyncio
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import check_text
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX

from metering.folds.metadata_links import MetadataNames, linked_for, reason_of, wanted_links
from metering.following.customers_log import CustomersLog
from metering.kafka.partition_log import Appender, LogUnavailable
from metering.process.logs import Log, RateLimited
from metering.records.fail_closed import FailClosed
from metering.records.notes.customer_link import CustomerLink, link_problem
from metering.stripe.signatures import WebhookEvent
from reporter.comparing.read_budget import ReadBudget
from reporter.linking.linking_metrics import LinkingMetrics
from reporter.linking.naming_customers import NamesPort, NamesUnavailable, names_of

CUSTOMER_EVENTS: Final = frozenset({"customer.created", "customer.updated", "customer.deleted"})
GATHERING_SECONDS: Final = 0.5  # also how long events of one customer are gathered
TROUBLE_SECONDS: Final = 15.0
TROUBLE_LASTING_SECONDS: Final = 300.0
NAMES_WAITING_MAX: Final = 10_000  # beyond it, all are read
DISPUTES_SECONDS: Final = 21_600.0  # the webhook that settles one may go to another reporter
FOLLOWED_TOGETHER: Final = 100
SHARE_MIN: Final = 0.05  # a process without partitions may get a webhook, too
NAMES_SECONDS_MAX: Final = 86_400.0  # names that are older are read again before a webhook is judged by them
STRIPE_CUSTOMERS_READ_MAX: Final = 100_000  # as many as `taximeter customers sync` reads
WRITTEN_TOGETHER: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowingRules:
    """`field`: the metadata field. `every_seconds`: how often all customers are read, 0 for never. `reads_per_month`: how many of the account's
    reads it may make; `reads_per_second`: how many begin in a second. `partitions`: of the topic. `by`: who links, in the log.
    """

    field: str
    every_seconds: float
    reads_per_month: float
    reads_per_second: float
    partitions: int
    by: str


class MetadataFollowing:
    """Owns the port. `owned`: the partitions of this process, whose part of the reads it makes; the owner of partition 0 reads all now and then."""

    def __init__(
        self,
        rules: FollowingRules,
        *,
        port: NamesPort,
        log: CustomersLog,
        appender: Appender,
        owned: Callable[[], Collection[int]],
        metrics: LinkingMetrics,
        clock: Clock,
        notices: Log,
    ) -> None:
        self._rules = rules
        self._reason = reason_of(rules.field)
        self._port = port
        self._log = log
        self._appender = appender
        self._owned = owned
        self._metrics = metrics
        self._clock = clock
        self._notices = notices
        self._warnings = RateLimited(clock, interval_seconds=60.0)
        self._budget = ReadBudget(rules.reads_per_month, clock.monotonic())
        self._names = MetadataNames()
        self._read_at = -math.inf  # monotonic: when all were read
        self._waiting: dict[str, int] = {}  # Stripe customers, since when in Unix ms
        self._taken: dict[str, int] = {}  # those of them that are looked at now
        self._concerned: set[str] = set()  # customers about whom the names have changed and the links not yet
        self._disputed: dict[str, tuple[str, ...]] = {}
        self._settled_at = clock.monotonic()  # when disputes were looked at again
        self._trouble: str | None = None
        metrics.waiting_since.set(math.nan)

    def observe(self, event: WebhookEvent) -> None:
        """Look at the customer of this webhook soon; any other event is passed over. Returns at once, and raises nothing for any document."""
        data = event.document.get("data")
        customer = data.get("object") if isinstance(data, Mapping) else None
        if event.type not in CUSTOMER_EVENTS or event.thin or not isinstance(customer, Mapping):
            return
        identity = customer.get("id")
        if not isinstance(identity, str) or not identity or link_problem(identity) is not None:
            return
        gone = event.type == "customer.deleted"
        if self._is_settled(identity, frozenset() if gone else names_of(customer, self._rules.field)):
            return  # another name or address of it: nothing to ask for
        if len(self._waiting) >= NAMES_WAITING_MAX:
            self._read_at = -math.inf
            return
        self._waiting.setdefault(identity, self._clock.now_ms())

    async def run(self) -> None:
        """Until cancelled. Trouble is said, and tried again; what waits goes on waiting."""
        while True:
            pause = GATHERING_SECONDS
            try:
                await self._look()
                self._trouble = None
            except NamesUnavailable as error:
                self._metrics.reads.labels("forbidden" if error.lasting else "unavailable").inc()
                pause = TROUBLE_LASTING_SECONDS if error.lasting else TROUBLE_SECONDS
                self._warn(f"Stripe does not tell its customers: {error}")
            except (LogUnavailable, FailClosed) as error:
                pause = TROUBLE_SECONDS
                self._warn(f"usage.customers: {error}")
            except Exception as error:  # usage is reported without it
                pause = TROUBLE_SECONDS
                self._trouble = f"links by metadata failed ({type(error).__name__})"
                self._notices.failed("links could not follow the metadata of Stripe's customers", error, stripe_customers=sorted(self._taken)[:5])
                # Others must not wait for what fails each time; the reading of all finds it again.
                self._taken, self._concerned = {}, set()
            self._show_waiting()
            self._metrics.disputed.set(len(self._disputed))
            await self._clock.sleep(pause)

    def trouble(self) -> str | None:
        """Why links do not follow, or stay, in words; None if all is well."""
        if self._trouble is None and self._disputed:
            customer, named_by = min(self._disputed.items())
            return f"{customer} is named by {' and by '.join(named_by)} in their metadata {self._rules.field}, {len(self._disputed):,} in all"
        return self._trouble

    async def close(self) -> None:
        """Close the connections, after `run` has ended."""
        await self._port.close()

    def _is_settled(self, stripe_customer: str, named: frozenset[str]) -> bool:
        """Whether the links, the names that are known and what it is said to name now all agree."""
        links = self._log.links
        linked = linked_for(self._reason, links, stripe_customer) | self._names.of(stripe_customer)
        return linked <= named and all(
            (link := links.link_of(customer)) is not None
            and link.stripe_customer == stripe_customer
            and set(self._names.named_by(customer)) <= {stripe_customer}
            for customer in named
        )

    async def _look(self) -> None:
        age, every = self._clock.monotonic() - self._read_at, self._rules.every_seconds or math.inf
        if (self._waiting and age > min(every, NAMES_SECONDS_MAX)) or (0 in self._owned() and age > every):
            await self._read_all()
        if self._disputed and self._clock.monotonic() - self._settled_at > DISPUTES_SECONDS:
            self._settled_at = self._clock.monotonic()
            for stripe_customer in {each for named_by in self._disputed.values() for each in named_by}:
                self._waiting.setdefault(stripe_customer, self._clock.now_ms())
        while self._waiting or self._concerned:
            oldest = sorted(self._waiting, key=self._waiting.__getitem__)[:FOLLOWED_TOGETHER]
            # Taken out before they are asked: a webhook that comes meanwhile puts its customer in again.
            self._taken = {each: self._waiting.pop(each) for each in oldest}
            try:
                await self._follow(oldest)
            except (NamesUnavailable, LogUnavailable, FailClosed):
                self._waiting, self._taken = {**self._waiting, **self._taken}, {}
                raise
            self._taken = {}

    async def _read_all(self) -> None:
        """Read all Stripe customers, a page at a time."""
        await self._log.read_on()
        ours = [link for link in self._log.links if link.reason == self._reason]
        began, found, listed, after = self._clock.monotonic(), MetadataNames(), set[str](), None
        while True:
            await self._may_read()
            page = await self._port.page(after)
            self._metrics.reads.labels("ok").inc()
            listed |= page.names.keys()
            for stripe_customer, named in page.names.items():
                found.take(stripe_customer, named)
            after = page.after
            if after is None:
                break
            if len(listed) >= STRIPE_CUSTOMERS_READ_MAX:
                raise NamesUnavailable(f"there are more than {STRIPE_CUSTOMERS_READ_MAX:,} customers; not more are read", lasting=True)
        self._names, self._read_at = found, began
        self._concerned |= {*found.customers, *self._disputed, *(link.customer for link in ours if link.stripe_customer in listed)}
        # The others were deleted, or are of another account, which says nothing of this one: Stripe is asked which.
        for gone in sorted({link.stripe_customer for link in ours} - listed):
            self._waiting.setdefault(gone, self._clock.now_ms())

    async def _follow(self, stripe_customers: Collection[str]) -> None:
        """Ask what these name now, and those that name the same customers or are billed for them; then write what has changed."""
        began = self._clock.monotonic()
        await self._log.read_on()
        links, todo, asked = self._log.links, list(stripe_customers), set(stripe_customers)
        while todo:
            each = todo.pop()
            await self._may_read()
            named = await self._port.named_by(each)
            self._metrics.reads.labels("ok").inc()
            if named is None:
                continue
            concerned = named | self._names.of(each) | linked_for(self._reason, links, each)
            self._names.take(each, named)
            self._concerned |= concerned
            for customer in concerned:
                link = links.link_of(customer)
                others = {*self._names.named_by(customer), *(() if link is None else (link.stripe_customer,))} - asked
                asked |= others
                todo += others
        wanted = wanted_links(self._concerned, self._names, links, self._reason)
        if "" in wanted.changes(links).values() and self._read_at < began:
            await self._read_all()  # another reporter may have been told who else names it
        await self._write(self._concerned)
        self._concerned = set()

    async def _write(self, concerned: Collection[str]) -> None:
        wanted = wanted_links(concerned, self._names, self._log.links, self._reason)
        for customer in concerned:
            self._disputed.pop(customer, None)
        self._disputed.update(wanted.disputed)
        for customer, named_by in wanted.disputed.items():
            self._warnings.warning(self._notices, "several of Stripe's customers name one customer", customer=customer, named_by=" ".join(named_by))
        changes = [each for each in wanted.changes(self._log.links).items() if self._may_change(*each)]
        now_ms = self._clock.now_ms()
        for first in range(0, len(changes), WRITTEN_TOGETHER):
            some = [CustomerLink(*each, self._reason, self._rules.by, now_ms) for each in changes[first : first + WRITTEN_TOGETHER]]
            await asyncio.gather(*(self._log.write(self._appender, link) for link in some))
            for link in some:
                self._metrics.links.labels("linked" if link.stripe_customer else "unlinked").inc()
        if changes:
            self._notices.info("customers are linked as Stripe's customers say", links=len(changes), reason=self._reason)
            await self._log.read_on()

    def _may_change(self, customer: str, billed: str) -> bool:
        """A link that somebody wrote with another reason changes only where a person sees a plan: `taximeter customers sync` shows it."""
        link = self._log.links.link_of(customer)
        if link is not None and link.reason != self._reason:
            why = f"linked to {link.stripe_customer} by {link.by}; taximeter customers sync shows what it would change"
            self._warnings.warning(
                self._notices, "a link that was written by hand stays", key=customer, customer=customer, named_by=billed, reason=why
            )
            return False
        return not billed or _is_customer(customer)

    async def _may_read(self) -> None:
        """Wait until the account's reads leave one for this."""
        await self._clock.sleep(1 / self._rules.reads_per_second)
        while True:
            self._budget.set_share(max(SHARE_MIN, len(self._owned()) / self._rules.partitions))
            if self._budget.left(self._clock.monotonic()):
                break
            self._show_waiting()
            await self._clock.sleep(GATHERING_SECONDS)
        self._budget.spend(1)

    def _show_waiting(self) -> None:
        since_ms = min([*self._waiting.values(), *self._taken.values()], default=math.nan)
        self._metrics.waiting_since.set(since_ms / 1000)

    def _warn(self, trouble: str) -> None:
        self._trouble = trouble
        self._warnings.warning(self._notices, "links do not follow the metadata of Stripe's customers", reason=trouble)


def _is_customer(text: str) -> bool:
    try:
        check_text(text, "customer", CUSTOMER_CHARS_MAX)
    except EventRejected:
        return False
    return True
