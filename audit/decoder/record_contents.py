"""What a record of usage.events holds. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from taximeter_emitter.wire.event import Dimensions

NO_IDENTITY: Final = b""


class NotReadable(Exception):
    """The bytes are no event, batch or heartbeat. The message says why."""


@dataclass(frozen=True, slots=True)
class HeldEvents:
    """The events of one record, in order: one for a single event, many for a batch.

    `series` are customers with their dimensions, sorted by key; `at` says which of them each event belongs to. `times` are Unix ms. `usage` has
    a quantity for each event and usage field. `identities` are the fingerprints of 16 bytes, NO_IDENTITY for an event that has only its number;
    two events are the same only if their customers are, too. `copies_from`: Unix ms, no copy of the event counted before; its own time, or when
    its identity was looked for in the log. `kept_ids` are the ids as texts, packed; empty where they were not kept.
    """

    series: Sequence[tuple[str, Dimensions]]
    at: Sequence[int]
    times: Sequence[int]
    copies_from: Sequence[int]
    usage: Mapping[str, Sequence[int]]
    identities: Sequence[bytes]
    kept_ids: str = ""


@dataclass(frozen=True, slots=True)
class SingleContents:
    """A single event."""

    events: HeldEvents


@dataclass(frozen=True, slots=True)
class BatchContents:
    """A batch: its events have the numbers `first` and following of their emitter in `partition`."""

    emitter: str
    partition: int
    first: int
    events: HeldEvents


@dataclass(frozen=True, slots=True)
class HeartbeatContents:
    """A heartbeat. `final`: how many events the emitter ever numbered in `partition`, once it has closed."""

    emitter: str
    partition: int
    final: int | None
    abandoned: Sequence[tuple[int, int]] = ()
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class UnreadableContents:
    """A record that cannot be read. It stands for as many events as it claims to hold."""

    why: str
    claimed: int = field(default=1)


RecordContents = SingleContents | BatchContents | HeartbeatContents | UnreadableContents
