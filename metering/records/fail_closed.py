"""What stops a partition: the logs are not what the invariants expect. The class carries the decision.

TaximeterError         root, in taximeter_emitter.wire.errors
└── FailClosed         the log is not what the invariants expect: the partition stops and an alert fires
    ├── ChainBroken        a record does not follow from the accepted ones
    ├── RecordCorrupt      a record of our own topics cannot be read
    ├── RecordUnreadable   records are damaged, or of a form that is not known
    ├── LedgerClosed       the ledger goes on in another cluster
    ├── HistoryLost        records that are still needed were deleted by retention
    ├── PartitionsAdded    a topic in use was given more partitions
    └── Unforeseen         code failed in a way that nobody foresaw
"""

from taximeter_emitter.wire.errors import TaximeterError


class FailClosed(TaximeterError):
    """The log contradicts the invariants; going on would be guessing."""


class ChainBroken(FailClosed):
    """A record claims to be accepted and cannot be."""


class RecordCorrupt(FailClosed):
    """A record of our own topics cannot be decoded: at `offset`, if that is known where it is said."""

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class RecordUnreadable(FailClosed):
    """Records of a log are damaged on the broker's disk or on the way, or Kafka wrote them in a form that is not known: from `offset` on."""

    def __init__(self, message: str, *, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


class LedgerClosed(FailClosed):
    """A person closed this ledger. It goes on in another cluster, and a report from here would bill twice."""


class HistoryLost(FailClosed):
    """Offsets that are still needed are below the log's start."""


class PartitionsAdded(FailClosed):
    """A partition beyond those of the settings: customers may have been moved to it by their producers, and nobody counts it."""


class Unforeseen(FailClosed):
    """Code failed over a record, or at a call, in a way that nobody foresaw. It costs that partition, and no other."""
