"""What the run looks like from outside: the services' metrics, the load's progress, Stripe's own counters, once a second."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from taximeter_sandbox.demo.installation import AGGREGATORS, GATEWAY, REPORTERS, Installation
from taximeter_sandbox.demo.load.load_orders import LoadOrder, LoadProgress, read_progress
from taximeter_sandbox.demo.stripe_side import StripeSide, StripeTraffic

INTERVAL_SECONDS: Final = 1.0
RATE_SECONDS: Final = 4.0

Series = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values of one process by metric name and labels."""


def parse_metrics(text: str) -> Series:
    """All samples of a /metrics page in the Prometheus text format."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): float(sample.value)
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(series: Series, name: str, **labels: str) -> float:
    """The sum of a metric over the series that have these labels."""
    wanted = labels.items()
    return sum(value for (metric, pairs), value in series.items() if metric == name and wanted <= dict(pairs).items())


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceView:
    """One service process as it is now; `up` is False while it is dead or does not answer."""

    name: str
    up: bool
    series: Series


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything at one moment. `at`: monotonic seconds."""

    at: float
    load: Mapping[str, LoadProgress]
    services: Mapping[str, ServiceView]
    stripe: StripeTraffic | None

    @property
    def emitted(self) -> int:
        """Events that the load has emitted."""
        return sum(progress.emitted for progress in self.load.values())

    def sum_of(self, names: Iterable[str], metric: str, **labels: str) -> float:
        """A metric over several services."""
        return sum(total(self.services[name].series, metric, **labels) for name in names if name in self.services)


SnapshotValue = Callable[[Snapshot], float]


@dataclass(slots=True)
class Watch:
    """Takes snapshots and remembers the last seconds of them. Counters go on over the restart of a process."""

    installation: Installation
    stripe: StripeSide
    orders: Sequence[LoadOrder]
    history: deque[Snapshot] = field(default_factory=lambda: deque(maxlen=60))
    _before: dict[str, Series] = field(default_factory=dict)
    _base: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = field(default_factory=dict)

    @property
    def latest(self) -> Snapshot | None:
        """The last snapshot."""
        return self.history[-1] if self.history else None

    def rate(self, value: SnapshotValue) -> float:
        """How much a value grew a second lately."""
        if len(self.history) < 2:
            return 0.0
        new = self.history[-1]
        old = next((each for each in self.history if each.at >= new.at - RATE_SECONDS), self.history[0])
        return max(0.0, (value(new) - value(old)) / (new.at - old.at)) if new.at > old.at else 0.0

    async def run(self) -> None:
        """Until cancelled."""
        timeout = aiohttp.ClientTimeout(total=2.0)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                self.history.append(await self._snapshot(session))
                await asyncio.sleep(INTERVAL_SECONDS)

    async def _snapshot(self, session: aiohttp.ClientSession) -> Snapshot:
        names = (GATEWAY, *AGGREGATORS, *REPORTERS)
        pages = await asyncio.gather(*(self._page(session, name) for name in names))
        try:
            traffic = await self.stripe.traffic()
        except (aiohttp.ClientError, TimeoutError):
            traffic = self.latest.stripe if self.latest is not None else None
        return Snapshot(
            at=time.monotonic(),
            load={order.name: read_progress(order.progress) for order in self.orders},
            services={name: self._service(name, page) for name, page in zip(names, pages, strict=True)},
            stripe=traffic,
        )

    async def _page(self, session: aiohttp.ClientSession, name: str) -> str | None:
        url = self.installation.admin_urls.get(name)
        if url is None:
            return None
        try:
            async with session.get(f"{url}/metrics") as response:
                return await response.text()
        except (aiohttp.ClientError, TimeoutError):
            return None

    def _service(self, name: str, page: str | None) -> ServiceView:
        """Add to each counter what earlier lives of the process had counted."""
        base = self._base.setdefault(name, {})
        before = self._before.get(name, {})
        if page is None:
            kept = {key: value + base.get(key, 0.0) for key, value in before.items() if key[0].endswith("_total")}
            return ServiceView(name=name, up=False, series=kept)
        series = parse_metrics(page)
        started = ("process_start_time_seconds", ())
        if before and series.get(started) != before.get(started):
            for key, value in before.items():
                if key[0].endswith("_total"):
                    base[key] = base.get(key, 0.0) + value
        self._before[name] = series
        whole = {key: value + base.get(key, 0.0) for key, value in series.items()}
        whole |= {key: value for key, value in base.items() if key not in series}
        return ServiceView(name=name, up=True, series=whole)
