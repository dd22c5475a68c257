"""Kafka clients with every option that touches money set by name; the library's defaults lose or invent usage.

All factories need a running event loop and return a client that is not started; `started` starts and always stops one.
"""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.errors import KafkaError
from taximeter_emitter.wire.limits import CHAIN_RECORD_BYTES_MAX

from metering.kafka.topics import ENVELOPE_BYTES, Topics, topics_named
from metering.process.secrets import Secret
from metering.process.settings import option

DISCARD_SECONDS: Final = 2.0
RETRY_BACKOFF_MS: Final = 100
METADATA_MAX_AGE_MS: Final = 60_000
CONNECTIONS_MAX_IDLE_MS: Final = 540_000
PRODUCE_BATCH_BYTES_MAX: Final = 256 * 1024

_TOPIC_PREFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SERVER: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/@]+):[0-9]{1,5}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchLimits:
    """How much a consumer reads ahead. A record larger than the byte limits still comes: brokers always send the first one.

    Measured: polls of 500 records cost less than unlimited ones, and partition fetches of 8 MiB were slower than 1 MiB and held 258 MB.
    """

    records_max: int = 500
    bytes_max: int = 16 * 1024 * 1024
    partition_bytes_max: int = 1024 * 1024
    wait_ms_max: int = 250


FETCH_LIMITS: Final = FetchLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """How to reach Kafka, and the shape of the topics there: section `kafka`."""

    bootstrap_servers: tuple[str, ...] = option(doc="Brokers to ask for the cluster's layout, as host:port.", alias="KAFKA_BOOTSTRAP_SERVERS")
    topic_prefix: str = option(doc="First part of the names of the four topics.", default="usage")
    partitions: int = option(
        doc="Partitions of every topic. It decides the partition of each customer, so it must not change while there is usage.",
        default=12,
        minimum=1,
        maximum=1000,
    )
    replication_factor: int | None = option(
        doc="Copies of each partition in topics that Taximeter creates; none means three, or one for each broker if there are fewer.",
        default=None,
        minimum=1,
        maximum=10,
    )
    client_id: str = option(doc="First part of the client ids that brokers show in logs and quotas.", default="taximeter")
    # Measured on batches of 500 events with ids: none 40.9 bytes an event, lz4 34.8, zstd 25.2. CPU-seconds per million events: the aggregator
    # 0.92, 0.94 and 1.04, the producer 0.05, 0.12 and 0.23. So it is worth it where the network or the disk costs more than the CPU.
    compression: str = option(doc="Compression of produced records.", default="none", choices=("none", "gzip", "lz4", "snappy", "zstd"))
    request_timeout_seconds: float = option(
        doc="How long one request to a broker, or one record waiting to be acknowledged, may take.",
        default=30.0,
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
    security_protocol: str = option(
        doc="How connections are protected.", default="PLAINTEXT", choices=("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
    )
    sasl_mechanism: str = option(
        doc="SASL mechanism, when the protocol is SASL.", default="SCRAM-SHA-512", choices=("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
    )
    sasl_username: str | None = option(doc="SASL user.", default=None)
    sasl_password: Secret | None = option(doc="SASL password.", default=None)
    ssl_cafile: Path | None = option(doc="CA certificates for the brokers' certificates (PEM); none means the system's.", default=None)
    ssl_certfile: Path | None = option(doc="This client's certificate (PEM), when brokers ask for one.", default=None)
    ssl_keyfile: Path | None = option(doc="The private key of this client's certificate (PEM).", default=None)
    ssl_key_password: Secret | None = option(doc="Password of the private key.", default=None)

    def problems(self) -> tuple[str, ...]:
        """Rules between the fields."""
        found = []
        if not self.bootstrap_servers:
            found.append("bootstrap_servers is empty; it takes host:port")
        for server in self.bootstrap_servers:
            if not _SERVER.fullmatch(server):
                found.append(f"bootstrap_servers has {server!r}, which is not host:port")
        if not _TOPIC_PREFIX.fullmatch(self.topic_prefix):
            found.append("topic_prefix takes 1 to 64 letters, digits, dots, underscores and hyphens, the first a letter or digit")
        sasl = self.security_protocol.startswith("SASL")
        if sasl and (self.sasl_username is None or self.sasl_password is None):
            found.append(f"security_protocol {self.security_protocol} needs sasl_username and sasl_password")
        if not sasl and (self.sasl_username is not None or self.sasl_password is not None):
            found.append(f"sasl_username or sasl_password is set, but security_protocol is {self.security_protocol}")
        if self.ssl_keyfile is not None and self.ssl_certfile is None:
            found.append("ssl_keyfile needs ssl_certfile")
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_file():
                found.append(f"{name} names {path}, which is not a file")
        return tuple(found)

    @property
    def topics(self) -> Topics:
        """The four topics under the configured prefix."""
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
    """Start a producer or consumer and stop it in any case, also when starting failed half way. Blocks while connecting and flushing."""
    try:
        await client.start()
        yield client
    finally:
        await client.stop()


def is_dead(consumer: AIOKafkaConsumer) -> bool:
    """Whether the tasks behind a started consumer have ended, as they do on an error that aiokafka did not expect.

    It would then return nothing for ever: `getmany` raises only for the group's task, and not for the one that fetches.
    """
    tasks = (consumer._fetcher._fetch_task, getattr(consumer._coordinator, "_coordination_task", None))  # noqa: SLF001  # nothing public tells
    return any(task is not None and task.done() for task in tasks)


async def discard(producer: AIOKafkaProducer) -> None:
    """Disconnect a producer, whatever the broker does; what was not acknowledged may or may not have arrived. Blocks a few seconds at most.

    `AIOKafkaProducer.stop` flushes first, which never ends while the broker is away, so its parts are stopped by hand.
    """
    producer._closed = True  # noqa: SLF001  # it is, from here on; its finaliser warns otherwise
    sender = producer._sender.sender_task  # noqa: SLF001
    with suppress(KafkaError, OSError, TimeoutError):
        async with asyncio.timeout(DISCARD_SECONDS):
            await producer.client.close()
    metadata = producer.client._md_update_fut  # noqa: SLF001
    if metadata is not None and not metadata.done():
        # The task that would have resolved it is gone, and the sender waits for it.
        metadata.set_result(False)
    for _ in range(2):
        # The first cancellation waits for requests under way, the second does not.
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait([sender], timeout=DISCARD_SECONDS)
    if sender is not None and sender.done() and not sender.cancelled():
        sender.exception()


def make_producer(
    settings: KafkaSettings,
    *,
    client_id: str,
    max_request_size: int = CHAIN_RECORD_BYTES_MAX + ENVELOPE_BYTES,
    max_batch_size: int = PRODUCE_BATCH_BYTES_MAX,
    linger_ms: int = 0,
) -> AIOKafkaProducer:
    """A producer whose success means that all in-sync replicas have the record, once and in order.

    `max_request_size`: bytes of the largest record it will send. `max_batch_size`: bytes gathered per partition before `send` waits.
    """
    return AIOKafkaProducer(
        **_connection(settings, client_id),
        acks="all",
        enable_idempotence=True,
        compression_type=None if settings.compression == "none" else settings.compression,
        max_request_size=max_request_size,
        max_batch_size=max_batch_size,
        linger_ms=linger_ms,
    )


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
    return AIOKafkaConsumer(
        **_reading(settings, client_id, fetch),
        group_id=group_id,
        group_instance_id=instance_id,
        session_timeout_ms=session_ms,
        # Three heartbeats fit into a session, so that one lost does not move partitions.
        heartbeat_interval_ms=max(1, session_ms // 3),
        rebalance_timeout_ms=max(session_ms, _ms(settings.rebalance_timeout_seconds)),
        max_poll_interval_ms=_ms(max_poll_interval_seconds),
        partition_assignment_strategy=(RoundRobinPartitionAssignor,),
    )


def make_log_reader(
    settings: KafkaSettings,
    *,
    client_id: str,
    fetch: FetchLimits = FETCH_LIMITS,
) -> AIOKafkaConsumer:
    """A reader outside any group: `assign` partitions by hand, then `seek` each at once. It can be used and thrown away freely."""
    return AIOKafkaConsumer(**_reading(settings, client_id, fetch), group_id=None)


def make_admin(settings: KafkaSettings, *, client_id: str) -> AIOKafkaAdminClient:
    """An administration client; unlike the others it is closed with `close()`."""
    return AIOKafkaAdminClient(**_connection(settings, client_id))


def _reading(settings: KafkaSettings, client_id: str, fetch: FetchLimits) -> dict[str, Any]:
    return {
        **_connection(settings, client_id),
        "enable_auto_commit": False,
        "auto_offset_reset": "none",
        "isolation_level": "read_committed",
        # Costs about 15 % of reading; a flipped bit in a quantity would be billed.
        "check_crcs": True,
        "max_poll_records": fetch.records_max,
        "fetch_min_bytes": 1,
        "fetch_max_bytes": fetch.bytes_max,
        "max_partition_fetch_bytes": fetch.partition_bytes_max,
        "fetch_max_wait_ms": fetch.wait_ms_max,
    }


def _connection(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "client_id": f"{settings.client_id}-{client_id}",
        "request_timeout_ms": _ms(settings.request_timeout_seconds),
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "connections_max_idle_ms": CONNECTIONS_MAX_IDLE_MS,
        "security_protocol": settings.security_protocol,
        "ssl_context": _ssl_context(settings),
    }
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.sasl_username
        options["sasl_plain_password"] = settings.sasl_password.reveal() if settings.sasl_password else None
    return options


def _ssl_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Verifies the broker's certificate and host name; there is no option to turn that off."""
    if not settings.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=settings.ssl_cafile)
    if settings.ssl_certfile is not None:
        password = settings.ssl_key_password.reveal() if settings.ssl_key_password else None
        context.load_cert_chain(settings.ssl_certfile, settings.ssl_keyfile, password)
    return context


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
