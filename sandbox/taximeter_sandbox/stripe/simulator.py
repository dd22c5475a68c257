"""The simulator put together: one account and everything that stands between it and the network."""

from pathlib import Path

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.configuration import Settings
from taximeter_sandbox.stripe.endpoints.account_routes import Endpoints
from taximeter_sandbox.stripe.endpoints.attribution import attributed
from taximeter_sandbox.stripe.state.clock import SimulatedClock
from taximeter_sandbox.stripe.state.journal import FileJournal, NoJournal
from taximeter_sandbox.stripe.traffic.faults import FaultInjector
from taximeter_sandbox.stripe.traffic.limits import Lanes, Limiter


class Simulator:
    """State of the process. Construction reads the journal, if there is one: see FileJournal for what it raises."""

    def __init__(self, *, seed: int, settings: Settings, data: Path | None = None) -> None:
        self.seed = seed
        self.clock = SimulatedClock()
        self.journal = NoJournal() if data is None else FileJournal(data)
        self.faults = FaultInjector(seed)
        self.lanes = Lanes()
        self.concurrent = 0
        self.account = Account(
            seed=str(seed), clock=self.clock, journal=self.journal, assumptions=settings.assumptions, processing=settings.processing
        )
        self.account.webhooks = settings.webhooks
        self.restored = 0
        if isinstance(self.journal, FileJournal):
            self.restored = self.account.replay(self.journal.entries())
            # Ids given after a restart must not repeat those given before it.
            self.account.reseed(f"{seed}:{self.restored}")
        self.endpoints = Endpoints(self.account)
        self.routes = [attributed(route, self.account) for route in self.endpoints.routes()]
        self.start_with(settings)

    def start_with(self, settings: Settings) -> None:
        """Put settings in force that `DELETE /_control/config` comes back to."""
        self.initial_settings = settings
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Put settings in force. New limits start with full buckets."""
        self.settings = settings
        self.limiter = Limiter(settings.limits)
        self.faults.use(settings.plan)
        self.account.processing = settings.processing
        self.account.webhooks = settings.webhooks
        self.account.billing_settings = settings.billing
        self.account.assume(settings.assumptions)

    def reset(self, *, keep_catalogue: bool) -> None:
        """Empty books, counters, buckets and the script; settings and clock stay."""
        self.account.reset(keep_catalogue=keep_catalogue)
        self.journal.flush()
        self.lanes.peak = 0
        self.limiter = Limiter(self.settings.limits)
        self.faults.clear_script()

    def close(self) -> None:
        """Release the journal."""
        if isinstance(self.journal, FileJournal):
            self.journal.close()
