"""The versions of the catalogue by log time, and the fold of usage.catalogue that says which publications count.

Every record is counted by the version that is in force at the latest log time of its partition up to it. So a partition never goes back to
a version that it has left, whatever the clocks of its leaders say, and everybody who reads the log finds the same.

A publication is accepted if it follows the last accepted one, and holds from NOTICE_MS_MIN or more after the broker wrote it. Brokers' clocks
differ by CLOCKS_APART_MS at most. So if somebody reads to the end of the topic after a broker wrote a record of log time T, they know every version
that holds before T + NOTICE_MS_MIN - CLOCKS_APART_MS. Nobody's own clock is asked.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Final

from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, RecordCorrupt
from metering.records.meters import Catalogue, catalogue_from
from metering.records.notes.publication import FROM_THE_BEGINNING, Publication

CLOCKS_APART_MS: Final = 10 * 60_000
NOTICE_MS_MIN: Final = 15 * 60_000
VERSIONS_MAX: Final = 10_000
FOR_EVER_MS: Final = 2**63  # above every log time that Kafka can carry


@dataclass(frozen=True, slots=True)
class CatalogueVersion:
    """An accepted publication: its number, from 1; where and when (log time) it was written; from which log time it holds; and what it says."""

    number: int
    offset: int
    log_time_ms: int
    from_ms: int
    catalogue: Catalogue
    reason: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class CatalogueTimeline:
    """The versions, by the log times from which they hold. All that hold up to `known_until_ms` are among them."""

    versions: tuple[CatalogueVersion, ...] = ()
    known_until_ms: int = 0

    def in_force(self, log_time_ms: int) -> CatalogueVersion:
        """The version by which a record is counted when this is the latest log time of its partition."""
        assert self.versions, "nothing is published"
        return self.versions[bisect_right(self.versions, log_time_ms, key=_from_ms) - 1]

    def end_of(self, version: CatalogueVersion) -> int:
        """The log time from which another version holds; FOR_EVER_MS if none is published."""
        return self.versions[version.number].from_ms if version.number < len(self.versions) else FOR_EVER_MS

    def serving(self, now_ms: int) -> tuple[CatalogueVersion, ...]:
        """Those by which a record may be counted that is written now or later: in force by any broker's clock, or to come."""
        return tuple(version for version in self.versions if self.end_of(version) > now_ms - CLOCKS_APART_MS)


_from_ms = attrgetter("from_ms")


def always(catalogue: Catalogue) -> CatalogueTimeline:
    """One version that holds for ever."""
    return CatalogueTimeline((CatalogueVersion(1, 0, 0, FROM_THE_BEGINNING, catalogue),), FOR_EVER_MS)


def taken_by_any(versions: Sequence[CatalogueVersion]) -> Catalogue:
    """A catalogue that refuses an event only if each of these versions does: to take events by while one follows the other, not to count by."""
    if len(versions) == 1:
        return versions[0].catalogue
    meters = {str(meter.definition): meter for version in versions for meter in version.catalogue.meters}
    of_all = set.intersection(*({str(meter.definition) for meter in version.catalogue.meters} for version in versions))
    # What a meter takes off may leave less than nothing by one version, and not by another.
    lenient = [
        meter if text in of_all or not meter.less else replace(meter, fields=(*meter.fields, *meter.less), less=()) for text, meter in meters.items()
    ]
    return Catalogue(lenient, frozenset[str]().union(*(version.catalogue.unmetered for version in versions)))


@dataclass(slots=True)
class PublishedCatalogues:
    """The fold of usage.catalogue. `next_offset` is the first offset that was not read yet, `refused` how many records did not count."""

    versions: tuple[CatalogueVersion, ...] = ()
    next_offset: int = 0
    refused: int = 0

    @property
    def head(self) -> int:
        """The offset of the last accepted publication; -1 if there is none."""
        return self.versions[-1].offset if self.versions else NO_OFFSET

    def objection(self, publication: Publication, log_time_ms: int) -> str | None:
        """Why a publication that the broker writes at this log time, next, would not be accepted."""
        if publication.after != self.head:
            return "another version was published since"
        if len(self.versions) >= VERSIONS_MAX:
            return f"{VERSIONS_MAX} versions are published, and no more are taken"
        if not self.versions:
            return None if publication.from_ms == FROM_THE_BEGINNING else "the first version holds from the beginning"
        if publication.from_ms < log_time_ms + NOTICE_MS_MIN:
            short = (log_time_ms + NOTICE_MS_MIN - publication.from_ms) // 1000 + 1
            return f"it would hold too soon by {short} s: from {NOTICE_MS_MIN // 60_000} minutes after the broker wrote it, or later"
        if publication.from_ms <= self.versions[-1].from_ms:
            return "the version before it does not hold before it"
        return None

    def fold(self, offset: int, log_time_ms: int, publication: Publication | None) -> bool:
        """Take in the record at `offset`, None for a foreign one; say whether it counts. Raises ChainBroken if records come out of order, and
        RecordCorrupt if an accepted one has meters of a form that this release does not know.
        """
        if offset < self.next_offset:
            raise ChainBroken(f"offset {offset} of the catalogue was folded already; next is {self.next_offset}")
        if publication is None or self.objection(publication, log_time_ms) is not None:
            self.next_offset, self.refused = offset + 1, self.refused + 1
            return False
        try:
            catalogue = catalogue_from(publication.definition)
        except ValueError as error:
            raise RecordCorrupt(f"the version at offset {offset} of the catalogue has meters that this release does not know: {error}") from error
        number = len(self.versions) + 1
        version = CatalogueVersion(number, offset, log_time_ms, publication.from_ms, catalogue, publication.reason, publication.by)
        self.versions, self.next_offset = (*self.versions, version), offset + 1
        return True
