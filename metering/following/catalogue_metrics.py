"""What a service exports about the versions of the catalogue."""

import math
from dataclasses import dataclass
from typing import Self

from prometheus_client import CollectorRegistry, Gauge

from metering.folds.catalogue_timeline import CatalogueTimeline
from metering.process.metrics import gauge


@dataclass(frozen=True, slots=True)
class CatalogueMetrics:
    """Set at each look."""

    versions: Gauge
    in_force: Gauge
    next_seconds: Gauge
    unfollowed: Gauge
    file_differs: Gauge

    @classmethod
    def create(cls, registry: CollectorRegistry, service: str) -> Self:
        """Declare them on this registry, by the name of the service in its metrics."""
        prefix = f"taximeter_{service}_catalogue"
        return cls(
            versions=gauge(registry, f"{prefix}_versions", "Versions of the catalogue that are known."),
            in_force=gauge(registry, f"{prefix}_version", "Number of the version that is in force now, by this host's clock; 0: none is published."),
            next_seconds=gauge(
                registry, f"{prefix}_next_seconds", "Seconds until the next version holds, by this host's clock, or NaN.", unit="seconds"
            ),
            unfollowed=gauge(registry, f"{prefix}_unfollowed", "1 while the topic of the catalogue cannot be read."),
            file_differs=gauge(registry, f"{prefix}_file_differs", "1 while the meters of the settings file are not those that are published."),
        )

    def show(self, timeline: CatalogueTimeline, now_ms: int, *, follows: bool, file_differs: bool) -> None:
        """What is known now."""
        self.versions.set(len(timeline.versions))
        self.in_force.set(timeline.in_force(now_ms).number if timeline.versions else 0)
        coming = [version.from_ms for version in timeline.versions if version.from_ms > now_ms]
        self.next_seconds.set((coming[0] - now_ms) / 1000 if coming else math.nan)
        self.unfollowed.set(not follows)
        self.file_differs.set(file_differs)
