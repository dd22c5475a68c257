"""Was each duplicate counted before, and nothing twice? Pure.

Memory: at most `entries_max` identities, of which one takes some 200 bytes. When there are more within the horizon, half of all identities are
left out from then on, by the first bits of their fingerprints, and `share` says how much is still looked at.
"""

from enum import Enum
from typing import Final

from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS, HOUR_MS

IDENTITIES_MAX: Final = 400_000
_CONTENT_BITS: Final = 32
_CONTENT_MASK: Final = (1 << _CONTENT_BITS) - 1
_PREFIX_BYTES: Final = 4


class Remembered(Enum):
    """What is known of an identity: nothing, that it was counted with the same content, or with another; or it is one that is not looked at."""

    NEVER = "never"
    SAME = "same"
    OTHER = "other"
    NOT_LOOKED_AT = "not looked at"


class SeenIdentities:
    """The identities that were counted in one partition, in the order of its log. An identity is bytes that begin with its fingerprint.

    `strict_from_ms`: before this log time an identity may have been counted that was never seen here (None: there is no such time).
    """

    def __init__(self, *, strict_from_ms: int | None = None, entries_max: int = IDENTITIES_MAX) -> None:
        self._strict_from_ms = strict_from_ms
        self._entries_max = entries_max
        self._seen: dict[bytes, int] = {}
        self._latest_ms = 0
        self._before_ms = 0
        self._halvings = 0
        self.has_forgotten = False  # whether some that were counted are not known any more
        self._limit: bytes | None = None

    @property
    def share(self) -> int:
        """How many identities there are for each that is looked at."""
        return 1 << self._halvings

    def begin_tally(self) -> None:
        """What follows is in one tally: while it was counted, nothing was forgotten that was known at its beginning."""
        self._before_ms = self._latest_ms

    def is_unsure_until(self, log_time_ms: int) -> None:
        """Identities were counted up to here that are not seen: until then, one that was never seen may have been counted."""
        self._strict_from_ms = max(log_time_ms, self._strict_from_ms or 0)

    def look_up(self, identity: bytes, content: int, log_time_ms: int) -> Remembered:
        """What is known of it in a record of this log time."""
        if self._limit is not None and identity >= self._limit:
            return Remembered.NOT_LOOKED_AT
        known = self._seen.get(identity)
        if known is None:
            is_sure = self._strict_from_ms is None or log_time_ms >= self._strict_from_ms
            return Remembered.NEVER if is_sure else Remembered.NOT_LOOKED_AT
        return Remembered.SAME if known & _CONTENT_MASK == content & _CONTENT_MASK else Remembered.OTHER

    def count(self, identity: bytes, content: int, log_time_ms: int, horizon_ms: int, *, own_ms: int) -> bool:
        """It was counted here, with its own time; says whether it was counted before: inside the horizon, or as what may be the same event."""
        if self._limit is not None and identity >= self._limit:
            return False
        before = self._seen.get(identity)
        self._seen[identity] = log_time_ms << _CONTENT_BITS | content & _CONTENT_MASK
        self._latest_ms = max(log_time_ms, self._latest_ms)
        if len(self._seen) > self._entries_max:
            self._shrink(horizon_ms)
        if before is None:
            return False
        counted_ms = before >> _CONTENT_BITS
        return log_time_ms - counted_ms <= horizon_ms or own_ms <= counted_ms + CLOCK_AHEAD_MAX_MS

    def _shrink(self, horizon_ms: int) -> None:
        self.has_forgotten = True
        oldest = self._before_ms - remembered_ms(horizon_ms) << _CONTENT_BITS
        self._seen = {identity: known for identity, known in self._seen.items() if known >= oldest}
        while len(self._seen) > self._entries_max // 2:
            self._halvings += 1
            self._limit = (1 << 8 * _PREFIX_BYTES >> self._halvings).to_bytes(_PREFIX_BYTES, "big")
            self._seen = {identity: known for identity, known in self._seen.items() if identity < self._limit}


def remembered_ms(horizon_ms: int) -> int:
    """For how long an identity may be remembered at most: the aggregator forgets in steps, and later than it must."""
    return 2 * horizon_ms + 2 * HOUR_MS + CLOCK_AHEAD_MAX_MS
