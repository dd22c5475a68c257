"""What a benchmark is: a path through the pipeline, measured in rounds."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path as Folder
from secrets import token_hex
from typing import TypeAlias

from benchmarks.measurement import Measurement, Unavailable
from benchmarks.targets import Target
from metering.kafka.clients import KafkaSettings

Measures: TypeAlias = Mapping[str, Callable[[], Awaitable[Measurement | Unavailable]]]
"""By name of the variant; the first is what the others are compared with, such as a bare client loop."""


@dataclass(frozen=True, slots=True)
class Arena:
    """Where a path is measured: a running broker, a folder for files, and how much is asked for (`scale` 1.0: the full size)."""

    bootstrap_servers: str
    folder: Folder
    scale: float

    def events(self, full: int) -> int:
        """This many events at full size, fewer in a quick run."""
        return max(200, round(full * self.scale))

    def kafka(self, partitions: int = 12) -> KafkaSettings:
        """Topics that nothing else uses; they do not exist yet."""
        return KafkaSettings(
            bootstrap_servers=tuple(self.bootstrap_servers.split(",")),
            topic_prefix=f"bench-{token_hex(6)}",
            partitions=partitions,
            replication_factor=1,
        )


@dataclass(frozen=True, slots=True)
class Path:
    """A path by name, and what its figures should be. `begin` prepares a round (its topics, its load) and yields its measures, called in turn.

    `rounds_max`: of a path whose figures are the same in each round.
    """

    name: str
    begin: Callable[[Arena], AbstractAsyncContextManager[Measures]]
    targets: Sequence[Target] = ()
    rounds_max: int | None = None
