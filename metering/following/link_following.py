"""Follows who is billed for whom, in usage.customers, while a service runs. What cannot be read changes nothing: new links wait, known ones hold."""

from typing import Final

from taximeter_emitter.clock import Clock

from metering.folds.customer_links import CustomerLinks
from metering.following.customers_log import CustomersLog
from metering.following.followed_topic import first_read
from metering.kafka.partition_log import LogUnavailable
from metering.process.logs import Log, RateLimited
from metering.process.service import ServiceContext
from metering.records.fail_closed import FailClosed

LINKS_SECONDS: Final = 2.0


class LinkFollowing:
    """`links` is kept up to date from `begin` on."""

    def __init__(self, log: CustomersLog, *, clock: Clock, notices: Log) -> None:
        self._log = log
        self._clock = clock
        self._notices = notices
        self._warnings = RateLimited(clock)
        self._trouble: str | None = None

    @property
    def links(self) -> CustomerLinks:
        """Who is billed for whom, as far as it is read."""
        return self._log.links

    async def begin(self, context: ServiceContext) -> bool:
        """Read the links once, then go on in the background, and tell the probes. False if the service is to stop before Kafka answers.

        Raises RefusedToStart if the links cannot be used.
        """
        if not await first_read(context, self._log.read_on, "the links of customers", clock=self._clock, notices=self._notices):
            return False
        context.health.mention("customer_links", self.trouble)
        context.spawn("customer links", self.run(), background=True)
        return True

    async def run(self) -> None:
        """Look now and then, until cancelled. Trouble is said, and tried again."""
        while True:
            try:
                await self._log.read_on()
                self._trouble = self._damage()
            except (LogUnavailable, FailClosed) as error:
                self._trouble = f"the links of customers cannot be read: {error}"
            if self._trouble is not None:
                self._warnings.warning(self._notices, "the links of customers cannot be followed as they should", reason=self._trouble)
            await self._clock.sleep(LINKS_SECONDS)

    def trouble(self) -> str | None:
        """Why not all links are known, in words; None if they are."""
        return self._trouble

    def _damage(self) -> str | None:
        links = self.links
        if self._log.damaged:
            return f"usage.customers cannot be read at offset {self._log.damaged[0]}: link those again that are held (taximeter customers list)"
        if links.refused:
            return f"{links.refused:,} customers have no link: there are {len(links):,} links, and not more are taken in"
        return None
