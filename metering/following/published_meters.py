"""The meters of the versions of the catalogue that are published: those that may be sent, and those that Stripe must have now.

Where nothing is published the settings file says. What was counted for a meter that was dropped since is still reported, as it was last defined.
"""

from collections.abc import Iterable, Mapping

from taximeter_emitter.clock import Clock

from metering.folds.catalogue_timeline import CatalogueTimeline, CatalogueVersion
from metering.following.catalogue_following import CatalogueFollowing
from metering.records.meters import Catalogue, Meter


class SentMeters:
    """`KnownMeters`: of all versions, each as the newest defines it that has it."""

    def __init__(self, following: CatalogueFollowing, file: Catalogue) -> None:
        self._following = following
        self._file = file
        self._seen: CatalogueTimeline | None = None
        self._by_name: Mapping[str, Meter] = file.by_name

    @property
    def by_name(self) -> Mapping[str, Meter]:
        """See KnownMeters."""
        timeline = self._following.timeline
        if timeline is not self._seen:
            self._seen, self._by_name = timeline, meters_of_all(timeline.versions, self._file)
        return self._by_name


class WatchedMeters:
    """`KnownMeters`: of the version in force, and of those to come."""

    def __init__(self, following: CatalogueFollowing, file: Catalogue, clock: Clock) -> None:
        self._following = following
        self._file = file
        self._clock = clock

    @property
    def by_name(self) -> Mapping[str, Meter]:
        """See KnownMeters."""
        return meters_of_all(self._following.timeline.serving(self._clock.now_ms()), self._file)


def meters_of_all(versions: Iterable[CatalogueVersion], file: Catalogue) -> Mapping[str, Meter]:
    """By name, each as the newest of the versions defines it that has it. Without versions, those of the file."""
    return {name: meter for version in versions for name, meter in version.catalogue.by_name.items()} or file.by_name
