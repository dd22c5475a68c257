"""What a peer is: how it is started on a job, and how its answer is read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.peers.answers import Answer
from metering.kafka.clients import KafkaSettings


@dataclass(frozen=True, slots=True)
class Job:
    """What one peer is started on: topics and a group that only it uses, and a folder of its own that survives its SIGKILL."""

    kafka: KafkaSettings
    folder: Path
    commit_ms: int

    @property
    def servers(self) -> str:
        """The brokers, comma separated."""
        return ",".join(self.kafka.bootstrap_servers)

    @property
    def input(self) -> str:
        """The topic of events."""
        return self.kafka.topics.events.name

    @property
    def group(self) -> str:
        """The consumer group, or what the peer takes for one."""
        return f"{self.kafka.topic_prefix}-group"

    @property
    def sums(self) -> str:
        """The topic that most peers write to."""
        return f"{self.kafka.topic_prefix}.sums"

    @property
    def arguments(self) -> list[str]:
        """What every peer's program is given, in this order."""
        return [self.servers, self.input, self.sums, self.group, str(self.folder), str(self.commit_ms), str(self.kafka.partitions)]


@dataclass(frozen=True, slots=True)
class Peer:
    """One peer. `command` finds or makes what it takes and may block for minutes; it raises PeerUnavailable.

    `output` is the topic of its answer, which is made before it starts. `batches`: it is given the events as Taximeter's emitters write them.
    """

    name: str
    command: Callable[[Job], list[str]]
    answer: Answer
    output: Callable[[Job], str] = lambda job: job.sums
    environment: Callable[[Job], Mapping[str, str]] = field(default=lambda _job: {})
    batches: bool = False
