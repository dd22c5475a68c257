"""Has an event with this id been counted inside the horizon? Exact, by 128-bit fingerprint.

Ids enter as *pending* with the records being counted. They become part of the index when the tally that counted them is accepted, and are
taken out again when another writer's tally won. The latest are in a dictionary; when they are many they move to the archive, packed.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from functools import lru_cache
from hashlib import blake2b
from itertools import compress
from typing import Final

from aggregator.id_segments import IdArchive, MemoryStorage
from metering.limits import FUTURE_TOLERANCE_MS, HOUR_MS

CONTENT_MASK: Final = (1 << 60) - 1
RECENT_IDS_MAX: Final = 100_000
SEGMENTS_PER_MEMORY: Final = 4  # of the archive: fewer cost less to ask, more are forgotten sooner
DISORDER_MS: Final = 10 * 60_000  # how far the broker's clock may step back, as after a change of leader


class Seen(Enum):
    """What the index says of an id."""

    NEVER = "never"
    SAME = "same"
    OTHER_CONTENT = "other content"


def content_of(customer: str, dimensions: tuple[tuple[str, str], ...], usage: Iterable[tuple[str, int]]) -> int:
    """A number that tells events of one id apart by content: the same in every process. It is linear in the quantities, so that columns
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
    return horizon_ms + FUTURE_TOLERANCE_MS + DISORDER_MS


class IdIndex:
    """The ids counted inside the horizon: the recent ones by the hour of log time, the rest in an archive.

    An event whose own time is more than `horizon_ms` before its record's log time is never looked up as new (the caller sets it aside), so
    remembering each id for the horizon plus the tolerance for clocks makes the answer exact.

    Adding and committing may raise OSError when the archive keeps its ids on a disk that is full.
    """

    def __init__(self, horizon_ms: int, archive: IdArchive | None = None, *, recent_max: int = RECENT_IDS_MAX) -> None:
        self.horizon_ms = horizon_ms
        self.archive = IdArchive(MemoryStorage, span_ms=span_ms(horizon_ms)) if archive is None else archive
        self._recent_max = recent_max
        self._content: dict[bytes, int] = {}
        self._hours: deque[tuple[int, list[bytes]]] = deque()
        self._pending: list[bytes] = []

    def __len__(self) -> int:
        return len(self._content) + len(self.archive)

    @property
    def memory_ms(self) -> int:
        """How far back in log time the index must be rebuilt from the log."""
        return memory_ms(self.horizon_ms)

    @property
    def recent(self) -> int:
        """Ids that are not in the archive, the pending ones included."""
        return len(self._content)

    def look_up(self, fingerprint: bytes, content: int) -> Seen:
        """What is known of this id; changes nothing."""
        known = self._content.get(fingerprint)
        if known is None:
            known = self.archive.look_up(fingerprint)
        if known is None:
            return Seen.NEVER
        return Seen.SAME if known == content else Seen.OTHER_CONTENT

    def add(self, fingerprint: bytes, content: int) -> None:
        """Note a new id as pending. It must not be known."""
        self._content[fingerprint] = content
        self._pending.append(fingerprint)

    def add_all_if_new(self, fingerprints: Sequence[bytes], contents: Sequence[int]) -> bool:
        """Note many ids as pending if every one is new and none repeats; otherwise change nothing and return False."""
        # A dictionary first: it finds repetitions, and each digest is hashed once.
        new = dict(zip(fingerprints, contents, strict=True))
        if len(new) != len(fingerprints) or not self._content.keys().isdisjoint(new):
            return False
        if len(self.archive) and any(self.archive.known(fingerprints)):
            return False
        self._content.update(new)
        self._pending += fingerprints
        return True

    def known(self, fingerprints: Sequence[bytes]) -> list[int]:
        """The positions of those that are known, or stand further left in the list themselves."""
        here = self._content.keys() & fingerprints
        known = [position for position, fingerprint in enumerate(fingerprints) if fingerprint in here] if here else []
        if len(self.archive):
            known += [position for position, there in enumerate(self.archive.known(fingerprints)) if there]
        if len(set(fingerprints)) != len(fingerprints):
            seen: set[bytes] = set()
            for position, fingerprint in enumerate(fingerprints):
                if fingerprint in seen:
                    known.append(position)
                seen.add(fingerprint)
        return known

    def remember(self, fingerprints: Sequence[bytes], contents: Sequence[int], log_time_ms: int) -> None:
        """Rebuild: take in ids from a record of this log time that was counted before; the first content seen stays."""
        assert not self._pending, "ids are rebuilt while nothing is being counted"
        known = self._content
        archived = self.archive.known(fingerprints)
        new = [not there and fingerprint not in known for fingerprint, there in zip(fingerprints, archived, strict=True)]
        fresh = dict(zip(reversed(list(compress(fingerprints, new))), reversed(list(compress(contents, new))), strict=True))
        known.update(fresh)
        self._keep(list(fresh), log_time_ms)

    def commit(self, log_time_ms: int) -> None:
        """The pending ids are counted; `log_time_ms` is the latest log time seen. Forgets what lies outside the horizon."""
        pending, self._pending = self._pending, []
        self._keep(pending, log_time_ms)
        oldest = log_time_ms - self.memory_ms
        while self._hours and self._hours[0][0] + HOUR_MS < oldest:
            for fingerprint in self._hours.popleft()[1]:
                del self._content[fingerprint]
        self.archive.forget_before(oldest)

    def rollback(self) -> None:
        """The pending ids were not counted by us: forget them."""
        for fingerprint in self._pending:
            del self._content[fingerprint]
        self._pending = []

    def archive_all(self, log_time_ms: int) -> None:
        """Move the recent ids to the archive, too. There must be none pending."""
        assert not self._pending, "what is pending may still be taken out again"
        if self._content:
            self._archive_recent(log_time_ms)

    def _keep(self, fingerprints: list[bytes], log_time_ms: int) -> None:
        if fingerprints:
            hour = log_time_ms - log_time_ms % HOUR_MS
            if not self._hours or self._hours[-1][0] < hour:
                self._hours.append((hour, []))
            self._hours[-1][1].extend(fingerprints)
        if len(self._content) > self._recent_max:
            self._archive_recent(log_time_ms)

    def _archive_recent(self, log_time_ms: int) -> None:
        self.archive.add(list(self._content), list(self._content.values()), log_time_ms)
        self._content = {}
        self._hours.clear()


def span_ms(horizon_ms: int) -> int:
    """How much log time a segment of an archive for this horizon covers at most."""
    return memory_ms(horizon_ms) // SEGMENTS_PER_MEMORY
