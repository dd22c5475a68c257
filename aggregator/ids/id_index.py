"""Has an event with this id been counted inside the horizon? Exact, by an identity of 128 bits.

Ids enter as *pending* with the records being counted. They become part of the index when the tally that counted them is accepted, and are
taken out again when another writer's tally won. When the latest are many they move to the archive.
"""

from collections.abc import Iterable
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from typing import Final

import numpy as np
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS

from aggregator.ids.fingerprints import AskedOne, Fingerprints, Mask, Words, asked, asked_one, each, repeated
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_table import MemoryStorage
from aggregator.ids.identities import Identities
from aggregator.ids.recent_ids import RecentIds

CONTENT_MASK: Final = (1 << 60) - 1
RECENT_IDS_MAX: Final = 100_000
IDS_AS_ARRAYS_FROM: Final = 16  # from this many ids at once, arrays are faster than one by one
SEGMENTS_PER_MEMORY: Final = 4  # of the archive: fewer cost less to ask, more are forgotten sooner
DISORDER_MS: Final = 10 * 60_000  # how far the broker's clock may step back, as after a change of leader


class Seen(Enum):
    """What the index says of an id."""

    NEVER = "never"
    SAME = "same"
    OTHER_CONTENT = "other content"


def content_of(customer: str, dimensions: tuple[tuple[str, str], ...], usage: Iterable[tuple[str, int]]) -> int:
    """A number that distinguishes events with the same id by content: the same in every process. It is linear in the quantities, so that columns
    are quick, and ignores zeros.
    """
    total = _series_content(customer, dimensions)
    for name, quantity in usage:
        total += field_factor(name) * quantity
    return total & CONTENT_MASK


@lru_cache(maxsize=100_000)
def _series_content(customer: str, dimensions: tuple[tuple[str, str], ...]) -> int:
    return _digest(customer, *(text for pair in dimensions for text in pair)) & CONTENT_MASK


@lru_cache(maxsize=10_000)
def field_factor(name: str) -> int:
    """What a unit of this usage field adds to an event's content number."""
    return (_digest(name) & 0x3FFFFFFF) | 1


def _digest(*texts: str) -> int:
    digest = blake2b(digest_size=8)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(4, "little") + encoded)
    return int.from_bytes(digest.digest(), "little")


def memory_ms(horizon_ms: int) -> int:
    """How far back in log time an index of this horizon must know its ids."""
    return horizon_ms + CLOCK_AHEAD_MAX_MS + DISORDER_MS


class IdIndex:
    """The ids counted inside the horizon: the recent ones by the hour of log time, the rest in an archive.

    They are known by what `identities` makes of them: all fingerprints here are such.

    An event whose own time is more than `horizon_ms` before its record's log time is never looked up as new (the caller sets it aside), so
    and none counts whose sender's clock was ahead of the log by more than CLOCK_AHEAD_MAX_MS. So remembering each id for the horizon and that
    makes the answer exact, whatever clock the sender of a copy goes by.

    Claiming and committing may raise OSError when the archive keeps its ids on a disk that is full.
    """

    def __init__(self, horizon_ms: int, archive: IdArchive | None = None, *, recent_max: int = RECENT_IDS_MAX) -> None:
        self.horizon_ms = horizon_ms
        self.archive = IdArchive(MemoryStorage, span_ms=span_ms(horizon_ms)) if archive is None else archive
        self.identities = Identities(self.archive.key)
        self._recent_max = recent_max
        self._recent = RecentIds()

    def __len__(self) -> int:
        return len(self._recent) + len(self.archive)

    @property
    def memory_ms(self) -> int:
        """How far back in log time the index must be rebuilt from the log."""
        return memory_ms(self.horizon_ms)

    @property
    def recent(self) -> int:
        """Ids that are not in the archive, the pending ones included."""
        return len(self._recent)

    @property
    def pending(self) -> int:
        """Ids that may still be taken out again."""
        return self._recent.pending

    def look_up(self, fingerprint: bytes, content: int) -> Seen:
        """What is known of this id; changes nothing."""
        known = self._content(asked_one(fingerprint))
        if known is None:
            return Seen.NEVER
        return Seen.SAME if known == content else Seen.OTHER_CONTENT

    def claim(self, fingerprints: Fingerprints, contents: Words) -> Mask:
        """Note the new ones of many ids as pending; returns which were new: not known, and nowhere further left among these."""
        if len(fingerprints) < IDS_AS_ARRAYS_FROM:
            return self._claim_one_by_one(fingerprints, contents)
        wanted = asked(fingerprints)
        new = np.ones(len(fingerprints), np.bool_)
        for known in (self._recent.known(wanted), *self.archive.known(wanted)):
            new[known] = False
        if again := repeated(fingerprints):
            new[again] = False
        if new.all():
            self._recent.add(wanted, contents)
        else:
            self._recent.add(wanted.chosen(new), contents[new])
        return new

    def remember(self, fingerprints: Fingerprints, contents: Words, log_time_ms: int) -> None:
        """Rebuild: take in ids from a record of this log time that was counted before; the first content seen stays."""
        assert not self._recent.pending, "ids are rebuilt while nothing is being counted"
        self.claim(fingerprints, contents)
        self._keep(log_time_ms)

    def commit(self, log_time_ms: int) -> None:
        """The pending ids are counted; `log_time_ms` is the latest log time seen. Forgets what is outside the horizon."""
        self._keep(log_time_ms)
        oldest = log_time_ms - self.memory_ms
        self._recent.forget_before(oldest)
        self.archive.forget_before(oldest)

    def rollback(self) -> None:
        """The pending ids were not counted by us: forget them."""
        self._recent.rollback()

    def archive_all(self, log_time_ms: int) -> None:
        """Move the recent ids to the archive, too. There must be none pending."""
        assert not self._recent.pending, "what is pending may still be taken out again"
        if len(self._recent):
            self._archive_recent(log_time_ms)

    def _content(self, wanted: AskedOne) -> int | None:
        known = self._recent.look_up(wanted)
        return known if known is not None else self.archive.look_up(wanted)

    def _claim_one_by_one(self, fingerprints: Fingerprints, contents: Words) -> Mask:
        new = np.zeros(len(fingerprints), np.bool_)
        for position, (fingerprint, content) in enumerate(zip(each(fingerprints), contents.tolist(), strict=True)):
            wanted = asked_one(fingerprint)
            if self._content(wanted) is None:
                self._recent.add_one(wanted, content)
                new[position] = True
        return new

    def _keep(self, log_time_ms: int) -> None:
        self._recent.commit(log_time_ms)
        if len(self._recent) > self._recent_max:
            self._archive_recent(log_time_ms)

    def _archive_recent(self, log_time_ms: int) -> None:
        self.archive.add(*self._recent.everything(), log_time_ms)
        self._recent = RecentIds(expected=self._recent_max)  # it will be as many again


def span_ms(horizon_ms: int) -> int:
    """How much log time a segment of an archive for this horizon covers at most."""
    return memory_ms(horizon_ms) // SEGMENTS_PER_MEMORY
