"""Has an event with this id been counted inside the horizon? Exact, in memory, by 128-bit fingerprint.

Ids enter as *pending* with the records being counted. They become part of the index when the tally that counted them is accepted, and are
taken out again when another writer's tally won.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import Enum
from itertools import compress
from typing import Final

from metering.limits import FUTURE_TOLERANCE_MS, HOUR_MS

_MASK: Final = (1 << 60) - 1
_DISORDER_MS: Final = 10 * 60_000  # how far the broker's clock may step back, as after a change of leader


class Seen(Enum):
    """What the index says of an id."""

    NEVER = "never"
    SAME = "same"
    OTHER_CONTENT = "other content"


def content_of(customer: str, dimensions: tuple[tuple[str, str], ...], usage: Iterable[tuple[str, int]]) -> int:
    """A number that tells events of one id apart by content. It is linear in the quantities, so that columns are quick, and ignores zeros.

    It differs from process to process: it must never be stored.
    """
    total = hash((customer, dimensions))
    for name, quantity in usage:
        total += field_factor(name) * quantity
    return total & _MASK


def field_factor(name: str) -> int:
    """What a unit of this usage field adds to an event's content number."""
    return (hash(name) & 0x3FFFFFFF) | 1


def contents_of(series: Sequence[int], at: Sequence[int], columns: Sequence[tuple[str, Sequence[int]]]) -> list[int]:
    """`content_of` for the events of a batch: `series` holds `content_of` each series without quantities."""
    totals = [series[index] for index in at]
    for name, column in columns:
        factor = field_factor(name)
        totals = [total + factor * quantity for total, quantity in zip(totals, column, strict=True)]
    return [total & _MASK for total in totals]


def memory_ms(horizon_ms: int) -> int:
    """How far back in log time an index of this horizon must know its ids."""
    return horizon_ms + FUTURE_TOLERANCE_MS + _DISORDER_MS


class IdIndex:
    """The ids counted inside the horizon, in segments by log time so that old ones can be forgotten.

    An event whose own time is more than `horizon_ms` before its record's log time is never looked up as new (the caller sets it aside), so
    remembering each id for the horizon plus the tolerance for clocks makes the answer exact.
    """

    def __init__(self, horizon_ms: int) -> None:
        self.horizon_ms = horizon_ms
        self._content: dict[bytes, int] = {}
        self._segments: deque[tuple[int, list[bytes]]] = deque()
        self._pending: list[bytes] = []

    def __len__(self) -> int:
        return len(self._content)

    @property
    def memory_ms(self) -> int:
        """How far back in log time the index must be rebuilt from the log."""
        return memory_ms(self.horizon_ms)

    def look_up(self, fingerprint: bytes, content: int) -> Seen:
        """What is known of this id; changes nothing."""
        known = self._content.get(fingerprint)
        if known is None:
            return Seen.NEVER
        return Seen.SAME if known == content else Seen.OTHER_CONTENT

    def add(self, fingerprint: bytes, content: int) -> None:
        """Note a new id as pending. It must not be known."""
        self._content[fingerprint] = content
        self._pending.append(fingerprint)

    def add_all_if_new(self, fingerprints: Sequence[bytes], contents: Sequence[int]) -> bool:
        """Note many ids as pending if every one is new and none repeats; otherwise change nothing and return False."""
        if not self._content.keys().isdisjoint(fingerprints) or len(set(fingerprints)) != len(fingerprints):
            return False
        self._content.update(zip(fingerprints, contents, strict=True))
        self._pending += fingerprints
        return True

    def remember(self, fingerprints: Sequence[bytes], contents: Sequence[int]) -> None:
        """Rebuild: note ids from records that were counted before; the first content seen stays."""
        known = self._content
        new = [fingerprint not in known for fingerprint in fingerprints]
        for fingerprint, content in zip(compress(fingerprints, new), compress(contents, new), strict=True):
            if fingerprint not in known:
                self.add(fingerprint, content)

    def commit(self, log_time_ms: int) -> None:
        """The pending ids are counted; `log_time_ms` is the latest log time seen. Forgets what lies outside the horizon."""
        if self._pending:
            segment = log_time_ms - log_time_ms % HOUR_MS
            if not self._segments or self._segments[-1][0] < segment:
                self._segments.append((segment, []))
            self._segments[-1][1].extend(self._pending)
            self._pending = []
        while self._segments and self._segments[0][0] + HOUR_MS < log_time_ms - self.memory_ms:
            for fingerprint in self._segments.popleft()[1]:
                del self._content[fingerprint]

    def rollback(self) -> None:
        """The pending ids were not counted by us: forget them."""
        for fingerprint in self._pending:
            del self._content[fingerprint]
        self._pending = []
