"""Bugs in which version of the catalogue counts, put in on purpose."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from aggregator.core.counting import PartitionCounter
from aggregator.core.log_columns import LogColumns
from metering.folds.catalogue_timeline import FOR_EVER_MS, CatalogueTimeline, CatalogueVersion, PublishedCatalogues
from metering.records.notes.publication import Publication


@contextmanager
def what_is_newest_counts() -> Iterator[None]:
    """As soon as a version is published, and not from when it holds."""

    def in_force(self: CatalogueTimeline, _log_time_ms: int) -> CatalogueVersion:
        return self.versions[-1]

    with patch.object(CatalogueTimeline, "in_force", in_force):
        yield


@contextmanager
def a_tally_is_not_cut_where_the_version_changes() -> Iterator[None]:
    """What is pending goes into one tally with what is of the next version, and by its meters."""
    real = PartitionCounter._of_one_version

    def careless(self: PartitionCounter, columns: LogColumns) -> int:
        found = real(self, columns)
        if not found and self.is_known(int(columns.moments[0])):
            self._version = self.timeline.in_force(max(self.log_time_ms, int(columns.moments[0])))
            return real(self, columns)
        return found

    with patch.object(PartitionCounter, "_of_one_version", careless):
        yield


@contextmanager
def a_new_owner_forgets_what_began_before() -> Iterator[None]:
    """It counts by the first version until it sees another one begin."""
    real = PartitionCounter.follow

    def follow(self: PartitionCounter, timeline: CatalogueTimeline) -> bool:
        begun_ms = vars(self).setdefault("begun_ms", self.tallies.log_time_ms)
        left = [version for version in timeline.versions if version.number == 1 or version.from_ms > begun_ms]
        numbered = tuple(replace(version, number=number) for number, version in enumerate(left, 1))
        return real(self, replace(timeline, versions=numbered))

    with patch.object(PartitionCounter, "follow", follow):
        yield


@contextmanager
def a_partition_goes_back_with_its_clock() -> Iterator[None]:
    """To the version of the record's own log time, although a later one has counted there."""
    real = PartitionCounter._of_one_version

    def going_back(self: PartitionCounter, columns: LogColumns) -> int:
        latest = self._pending.log_time_ms
        if not self.pending_records:
            self._pending.log_time_ms = 0
        try:
            return real(self, columns)
        finally:
            self._pending.log_time_ms = latest

    with patch.object(PartitionCounter, "_of_one_version", going_back):
        yield


@contextmanager
def nobody_asks_whether_all_versions_are_known() -> Iterator[None]:
    """What was read at the last look counts, however long ago that was."""
    real = PartitionCounter.follow

    def follow(self: PartitionCounter, timeline: CatalogueTimeline) -> bool:
        return real(self, replace(timeline, known_until_ms=FOR_EVER_MS))

    with patch.object(PartitionCounter, "follow", follow):
        yield


@contextmanager
def a_version_that_comes_late_counts() -> Iterator[None]:
    """Although it holds for what others have counted already."""
    real = PublishedCatalogues.objection

    def lenient(self: PublishedCatalogues, publication: Publication, _log_time_ms: int) -> str | None:
        return real(self, publication, 0)

    with patch.object(PublishedCatalogues, "objection", lenient):
        yield


PLANTED_IN_CATALOGUES: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    planted.__name__: planted
    for planted in (
        what_is_newest_counts,
        a_tally_is_not_cut_where_the_version_changes,
        a_new_owner_forgets_what_began_before,
        a_partition_goes_back_with_its_clock,
        nobody_asks_whether_all_versions_are_known,
        a_version_that_comes_late_counts,
    )
}
