"""What an emitter did with events, counted once, in one place, over all restarts of its background work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

UNKNOWN_FIELDS_MAX: Final = 100


@dataclass(slots=True)
class EmitterCounts:
    """Events, unless said otherwise.

    Every emitted event is in exactly one of: buffered (in memory), unplaced (on disk, from a time before Kafka was first reached), numbered and
    waiting (in memory or on disk), sent, refused and set aside on disk, lost.
    `dropped`: refused by `emit` because the buffer was full or the emitter closed. `rejected`: invalid, by reason.
    `refused`: in batches that the gateway will not take, of this process or a dead one; without a disk to set them aside on they are `lost`, too.
    `failures`: how often nothing could be sent, by reason.
    `spooled`: written to disk at some time. `adopted`: sent on behalf of a dead process. `lost`: neither Kafka nor the disk had them when
    the emitter closed. `unknown_usage`: events with a quantity of a field that `usage_fields` does not name,
    by field.
    """

    emitted: int = 0
    dropped: int = 0
    unplaced: int = 0
    numbered: int = 0
    sent: int = 0
    spooled: int = 0
    adopted: int = 0
    lost: int = 0
    refused: int = 0
    batches_retried: int = 0
    spool_failures: int = 0
    restarts: int = 0
    callback_failures: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    unknown_usage: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)

    def note_failure(self, reason: str) -> None:
        """Nothing could be sent, for one of the few reasons that a transport names."""
        self.failures[reason] = self.failures.get(reason, 0) + 1

    def note_unknown_usage(self, events: Mapping[str, int]) -> None:
        """Add to `unknown_usage`, which keeps the first hundred names: a program could have very many."""
        known = self.unknown_usage
        for name, count in events.items():
            if count:
                kept = name if name in known or len(known) < UNKNOWN_FIELDS_MAX else "..."
                known[kept] = known.get(kept, 0) + count
