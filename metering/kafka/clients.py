"""Kafka clients with every option that touches money set by name; the library's defaults lose or invent usage.

All factories need a running event loop and return a client that is not started; `started` starts and always stops one.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from taximeter_emitter.transports.kafka_connection import connection_arguments, reaching_nodes_apart
from taximeter_emitter.transports.kafka_options import (
    COMPRESSIONS,
    REQUEST_SECONDS_DEFAULT,
    SASL_MECHANISMS,
    SECURITY_PROTOCOLS,
    KafkaOptions,
)

from metering.configuration.secrets import Secret
from metering.configuration.settings import option
from metering.kafka.topics import Topics, topics_named

_JOIN_SPARE_SECONDS: Final = 5.0
STOP_SECONDS_MAX: Final = 5.0
_TOPIC_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """How much a consumer reads ahead. A record larger than the byte limits still comes: brokers always send the first one.

    A broker answers as soon as it has `bytes_min`, or after `wait_ms_max`. No more than `partition_bytes_max` should be asked for at least, or one
    partition that is behind would wait at each fetch.

    Measured: polls of 500 records cost less than unlimited ones, and partition fetches of 8 MiB were slower than 1 MiB and held 258 MB.
    """

    records_max: int = 500
    bytes_max: int = 16 * 1024 * 1024
    partition_bytes_max: int = 1024 * 1024
    bytes_min: int = 1
    wait_ms_max: int = 250


FETCH_LIMITS: Final = FetchLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach Kafka, and the shape of the topics there: section `kafka`."""

    bootstrap_servers: tuple[str, ...] = option(doc="Brokers to ask for the cluster's layout, as host:port.", alias="KAFKA_BOOTSTRAP_SERVERS")
    topic_prefix: str = option(doc="First part of the names of the five topics.", default="usage")
    partitions: int = option(
        doc="Partitions of every topic but the catalogue's. It decides the partition of each customer, so it must not change while there is usage.",
        default=12,
        minimum=1,
        maximum=1000,
    )
    replication_factor: int = option(
        doc=(
            "Copies that each partition of the topics must have. Fewer than three can lose acknowledged usage with one broker: 1 is for a single"
            " broker in development, and never a default."
        ),
        default=3,
        minimum=1,
        maximum=10,
    )
    client_id: str = option(doc="First part of the client ids that brokers show in logs and quotas.", default="taximeter")
    # Measured on batches of 500 events with ids: none 40.9 bytes an event, lz4 34.8, zstd 25.2. CPU-seconds per million events: the aggregator
    # 0.92, 0.94 and 1.04, the producer 0.05, 0.12 and 0.23. So it is worth it where the network or the disk costs more than the CPU.
    compression: str = option(doc="Compression of produced records.", default="none", choices=COMPRESSIONS)
    request_timeout_seconds: float = option(
        doc="How long a broker may take to answer a request. Brokers give up one that is silent after nine seconds; less than that finds it in time.",
        default=REQUEST_SECONDS_DEFAULT,
        unit="seconds",
        minimum=1,
        maximum=300,
    )
    session_timeout_seconds: float = option(
        doc="Silence after which a consumer counts as dead and its partitions move. The broker's group.min.session.timeout.ms is its lower bound.",
        default=10.0,
        unit="seconds",
        minimum=1,
        maximum=300,
    )
    rebalance_timeout_seconds: float = option(
        doc="How long a group waits for a member to give up its partitions in a rebalance.",
        default=30.0,
        unit="seconds",
        minimum=1,
        maximum=300,
    )
    startup_timeout_seconds: float = option(
        doc="How long a starting service waits for Kafka before it gives up.", default=60.0, unit="seconds", minimum=0, maximum=3600
    )
    security_protocol: str = option(doc="How connections are protected.", default="PLAINTEXT", choices=SECURITY_PROTOCOLS)
    sasl_mechanism: str = option(doc="SASL mechanism, when the protocol is SASL.", default="SCRAM-SHA-512", choices=SASL_MECHANISMS)
    sasl_username: str | None = option(doc="SASL user.", default=None)
    sasl_password: Secret | None = option(doc="SASL password.", default=None)
    ssl_cafile: Path | None = option(doc="CA certificates for the brokers' certificates (PEM); none means the system's.", default=None)
    ssl_certfile: Path | None = option(doc="This client's certificate (PEM), when brokers ask for one.", default=None)
    ssl_keyfile: Path | None = option(doc="The private key of this client's certificate (PEM).", default=None)
    ssl_key_password: Secret | None = option(doc="Password of the private key.", default=None)

    def problems(self) -> tuple[str, ...]:
        """Rules between the fields."""
        found = list(self.options().problems())
        if not _TOPIC_PREFIX.fullmatch(self.topic_prefix):
            found.append("topic_prefix takes 1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit")
        return tuple(found)

    def options(self) -> KafkaOptions:
        """How to reach Kafka, for its clients; the passwords in it are in clear text."""
        return KafkaOptions(
            bootstrap_servers=self.bootstrap_servers,
            client_id=self.client_id,
            compression=self.compression,
            request_timeout_seconds=self.request_timeout_seconds,
            security_protocol=self.security_protocol,
            sasl_mechanism=self.sasl_mechanism,
            sasl_username=self.sasl_username,
            sasl_password=None if self.sasl_password is None else self.sasl_password.reveal(),
            ssl_cafile=self.ssl_cafile,
            ssl_certfile=self.ssl_certfile,
            ssl_keyfile=self.ssl_keyfile,
            ssl_key_password=None if self.ssl_key_password is None else self.ssl_key_password.reveal(),
        )

    def group_id(self, service: str, chosen: str) -> str:
        """The consumer group of a service: `chosen`, or else one that no other installation on the same cluster has."""
        return chosen or f"taximeter-{service}-{self.topic_prefix}"

    @property
    def topics(self) -> Topics:
        """The topics under the configured prefix."""
        return topics_named(self.topic_prefix)


class Client(Protocol):
    """What all Kafka clients have in common."""

    async def start(self) -> None:
        """Connect; raises KafkaConnectionError."""
        ...

    async def stop(self) -> None:
        """Flush, leave the group if any, close the connections."""
        ...


C = TypeVar("C", bound=Client)


@asynccontextmanager
async def started(client: C) -> AsyncIterator[C]:
    """Start a producer or consumer and stop it in any case, even when starting failed half way. Blocks while connecting and flushing."""
    try:
        await client.start()
        yield client
    finally:
        # A member that cannot say good-bye is missed after the session timeout.
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_SECONDS_MAX):
                await client.stop()


def make_group_consumer(
    settings: KafkaSettings,
    *,
    group_id: str,
    client_id: str,
    instance_id: str | None = None,
    fetch: FetchLimits = FETCH_LIMITS,
    max_poll_interval_seconds: float = 300.0,
) -> AIOKafkaConsumer:
    """A group member that is given partitions and nothing else: it neither commits by itself nor ever moves a position by itself.

    `instance_id` makes the membership static: a restart within the session timeout moves no partitions. Subscribe with a listener, and
    seek every partition when it is assigned: with `auto_offset_reset="none"` a partition without a position raises instead of skipping.
    """
    session_ms = _ms(settings.session_timeout_seconds)
    rebalance_ms = max(session_ms, _ms(settings.rebalance_timeout_seconds))
    consumer = AIOKafkaConsumer(
        **_reading(settings, client_id, fetch),
        group_id=group_id,
        group_instance_id=instance_id,
        session_timeout_ms=session_ms,
        # Three heartbeats fit into a session, so that one lost does not move partitions.
        heartbeat_interval_ms=max(1, session_ms // 3),
        rebalance_timeout_ms=rebalance_ms,
        max_poll_interval_ms=_ms(max_poll_interval_seconds),
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
    )
    return reaching_nodes_apart(consumer, settings.options(), join_seconds=rebalance_ms / 1000 + _JOIN_SPARE_SECONDS)


def make_log_reader(
    settings: KafkaSettings,
    *,
    client_id: str,
    fetch: FetchLimits = FETCH_LIMITS,
) -> AIOKafkaConsumer:
    """A reader outside any group: `assign` partitions by hand, then `seek` each at once. It can be used and thrown away freely."""
    return reaching_nodes_apart(AIOKafkaConsumer(**_reading(settings, client_id, fetch), group_id=None), settings.options())


def make_admin(settings: KafkaSettings, *, client_id: str) -> AIOKafkaAdminClient:
    """An administration client; unlike the others it is closed with `close()`."""
    options = settings.options()
    return reaching_nodes_apart(AIOKafkaAdminClient(**connection_arguments(options, client_id)), options)


def _reading(settings: KafkaSettings, client_id: str, fetch: FetchLimits) -> dict[str, Any]:
    return {
        **connection_arguments(settings.options(), client_id),
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        # Costs about 15 % of reading; a flipped bit in a quantity would be billed.
        "check_crcs": True,
        "max_poll_records": fetch.records_max,
        "fetch_min_bytes": fetch.bytes_min,
        "fetch_max_bytes": fetch.bytes_max,
        "max_partition_fetch_bytes": fetch.partition_bytes_max,
        "fetch_max_wait_ms": fetch.wait_ms_max,
    }


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def client_cancelled_itself() -> bool:
    """Whether a CancelledError that was just caught is the client's, and nobody cancelled this task.

    A client of aiokafka cancels what waits for it when a connection goes at the wrong moment.
    """
    task = asyncio.current_task()
    return task is not None and not task.cancelling()
