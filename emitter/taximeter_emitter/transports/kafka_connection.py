"""aiokafka's arguments from KafkaOptions, with every one that touches money set by name; the library's defaults lose or invent usage."""

import ssl
from typing import Any, Final, TypeVar

from aiokafka import AIOKafkaProducer

from taximeter_emitter.transports.aiokafka_internals import client_of, limit_produce_wait
from taximeter_emitter.transports.kafka_options import KafkaOptions
from taximeter_emitter.transports.node_connections import CONNECT_SECONDS_MAX, NodeConnections
from taximeter_emitter.wire.limits import ENVELOPE_BYTES

RETRY_BACKOFF_MS: Final = 100
METADATA_MAX_AGE_MS: Final = 60_000
CONNECTIONS_MAX_IDLE_MS: Final = 540_000
PRODUCE_BATCH_BYTES_MAX: Final = 256 * 1024
_PRODUCE_WAIT: Final = 0.4  # of the request timeout

C = TypeVar("C")


def connection_arguments(options: KafkaOptions, client_id: str) -> dict[str, Any]:
    """What every client of aiokafka is given. Raises OSError or ssl.SSLError for certificates that cannot be loaded."""
    arguments: dict[str, Any] = {
        "bootstrap_servers": list(options.bootstrap_servers),
        "client_id": f"{options.client_id}-{client_id}",
        "request_timeout_ms": round(options.request_timeout_seconds * 1000),
        "retry_backoff_ms": RETRY_BACKOFF_MS,
        "metadata_max_age_ms": METADATA_MAX_AGE_MS,
        "connections_max_idle_ms": CONNECTIONS_MAX_IDLE_MS,
        "security_protocol": options.security_protocol,
        "ssl_context": _ssl_context(options),
    }
    if options.security_protocol.startswith("SASL"):
        arguments["sasl_mechanism"] = options.sasl_mechanism
        arguments["sasl_plain_username"] = options.sasl_username
        arguments["sasl_plain_password"] = options.sasl_password
    return arguments


def reaching_nodes_apart(client: C, options: KafkaOptions, *, join_seconds: float = 0.0) -> C:
    """The same producer, consumer or administration client of aiokafka, not started: a silent node will not keep it from the others.

    `join_seconds`: how long a member of a group may have to wait for the other members.
    """
    NodeConnections(
        client_of(client),
        connect_seconds=min(CONNECT_SECONDS_MAX, options.request_timeout_seconds),
        request_seconds=options.request_timeout_seconds,
        join_seconds=join_seconds,
    )
    return client


def make_producer(
    options: KafkaOptions, *, client_id: str, record_bytes_max: int, batch_bytes_max: int = PRODUCE_BATCH_BYTES_MAX, linger_ms: int = 0
) -> AIOKafkaProducer:
    """A producer, not started, whose success means that all in-sync replicas have the record, once and in order. Needs a running event loop.

    `record_bytes_max`: bytes of the largest value it will send. `batch_bytes_max`: bytes gathered per partition before `send` waits.
    """
    producer = AIOKafkaProducer(
        **connection_arguments(options, client_id),
        acks="all",
        enable_idempotence=True,
        compression_type=None if options.compression == "none" else options.compression,
        max_request_size=record_bytes_max + ENVELOPE_BYTES,
        max_batch_size=batch_bytes_max,
        linger_ms=linger_ms,
    )
    limit_produce_wait(producer, _PRODUCE_WAIT * options.request_timeout_seconds)
    return reaching_nodes_apart(producer, options)


def _ssl_context(options: KafkaOptions) -> ssl.SSLContext | None:
    """Verifies the broker's certificate and host name; there is no option to turn that off."""
    if not options.security_protocol.endswith("SSL"):
        return None
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=options.ssl_cafile)
    if options.ssl_certfile is not None:
        context.load_cert_chain(options.ssl_certfile, options.ssl_keyfile, options.ssl_key_password)
    return context
