"""The state of one broker, and what a handler gets with each request."""

import uuid
from dataclasses import dataclass

from taximeter_sandbox.kafka.cluster.broker_faults import Faults
from taximeter_sandbox.kafka.cluster.topics import Topics
from taximeter_sandbox.kafka.groups.committed_offsets import CommittedOffsets
from taximeter_sandbox.kafka.groups.coordinator import GroupCoordinator
from taximeter_sandbox.kafka.settings import BrokerSettings
from taximeter_sandbox.kafka.storage.documents import read_document, write_document
from taximeter_sandbox.kafka.storage.producer_ids import ProducerIds


@dataclass(slots=True)
class Broker:
    """Everything the broker knows; clients connect to ``host`` and ``port``."""

    settings: BrokerSettings
    cluster_id: str
    topics: Topics
    offsets: CommittedOffsets
    groups: GroupCoordinator
    producer_ids: ProducerIds
    faults: Faults
    host: str
    port: int

    def close(self) -> None:
        """Flush everything to the disk and close it."""
        self.topics.close()
        self.offsets.close()


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request's surroundings."""

    broker: Broker
    api_version: int
    client_id: str
    client_host: str


def open_broker(settings: BrokerSettings) -> Broker:
    """Open the data folder and recover. Raises CorruptLog, OSError, ValueError. Blocks for as long as the logs take to be read."""
    settings.data.mkdir(parents=True, exist_ok=True)
    return Broker(
        settings=settings,
        cluster_id=_cluster_id(settings),
        topics=Topics(settings),
        offsets=CommittedOffsets(settings.data / "offsets.jsonl"),
        groups=GroupCoordinator(settings),
        producer_ids=ProducerIds(settings.data / "producer_ids.json"),
        faults=Faults(),
        host=settings.host,
        port=settings.port,
    )


def _cluster_id(settings: BrokerSettings) -> str:
    path = settings.data / "cluster.json"
    known = read_document(path)
    if known is None:
        known = {"cluster_id": uuid.uuid4().hex[:22]}
        write_document(path, known)
    return str(known["cluster_id"])
