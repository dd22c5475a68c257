"""How far each partition of each topic was, when it was last seen."""

from dataclasses import dataclass, field

from console.store.fold_places import LEDGER, LETTERS, TALLIES


@dataclass(slots=True)
class PartitionEnds:
    """The ends of a partition's logs (-1: not seen yet), and why one is not followed, by topic."""

    events: int = -1
    ends: dict[str, int] = field(default_factory=lambda: dict.fromkeys((TALLIES, LEDGER, LETTERS), -1))
    troubles: dict[str, str] = field(default_factory=dict)
    stops: set[str] = field(default_factory=set)


class PipelineView:
    """By partition."""

    def __init__(self, partitions: int) -> None:
        self.partitions = tuple(PartitionEnds() for _ in range(partitions))
        self.caught_up: set[tuple[str, int]] = set()

    def stopped(self) -> str | None:
        """What is not followed because the log contradicts itself or the store, in words; None if all is."""
        found = [f"partition {number} of {topic}" for number, each in enumerate(self.partitions) for topic in sorted(each.stops)]
        return f"not followed: {', '.join(found)}" if found else None

    def unread(self) -> str | None:
        """What was not read to its end since the start, in words; None if all was."""
        missing = len(self.partitions) * len(self.partitions[0].ends) - len(self.caught_up) if self.partitions else 0
        return f"{missing} of the logs' partitions are not read to their ends yet" if missing else None
