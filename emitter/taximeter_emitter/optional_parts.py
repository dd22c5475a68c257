"""The parts of an emitter that cost something to import, each imported when an emitter is made that uses it.

Without them a program that only imports the package pays neither for a Kafka client nor for a database.
"""

import os
from typing import TYPE_CHECKING, Final

from taximeter_emitter.transports.batch_producer import BatchProducer, ProducerFactory
from taximeter_emitter.transports.kafka_options import KafkaOptions

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from taximeter_emitter.clock import Clock
    from taximeter_emitter.emitter_metrics import EmitterMetrics
    from taximeter_emitter.spool.spool_directory import SpoolDirectory
    from taximeter_emitter.transports.gateway_options import GatewayOptions

_OPEN_SECONDS: Final = 10.0


def kafka_producers(kafka: KafkaOptions, *, topic: str) -> ProducerFactory:
    """What makes producers for the topic. Raises ValueError for options that cannot be right, ImportError without aiokafka."""
    problems = kafka.problems()
    if problems:
        raise ValueError("; ".join(problems))
    try:
        from taximeter_emitter.transports.kafka_producer import KafkaProducer
    except ModuleNotFoundError as error:
        raise _missing(error, "aiokafka", "kafka", "Kafka needs aiokafka") from error

    def new_producer() -> BatchProducer:
        return KafkaProducer(kafka, topic=topic, client_id="emitter", open_seconds=_OPEN_SECONDS)

    return new_producer


def gateway_producers(gateway: "GatewayOptions", *, source: str, clock: "Clock") -> ProducerFactory:
    """What makes producers for the gateway. Raises ValueError for options that cannot be right."""
    problems = gateway.problems()
    if problems:
        raise ValueError("; ".join(problems))
    from taximeter_emitter.transports.gateway_connection import GatewayAddress
    from taximeter_emitter.transports.gateway_producer import GatewayProducer

    address = GatewayAddress.of(gateway)

    def new_producer() -> BatchProducer:
        return GatewayProducer(address, gateway, source=source, clock=clock)

    return new_producer


def metrics_on(registry: "CollectorRegistry") -> "EmitterMetrics":
    """The emitter's metrics on this registry. Raises ImportError without prometheus_client."""
    try:
        from taximeter_emitter.emitter_metrics import EmitterMetrics
    except ModuleNotFoundError as error:
        raise _missing(error, "prometheus_client", "prometheus", "metrics need prometheus-client") from error
    return EmitterMetrics(registry)


def spool_directory(path: "str | os.PathLike[str]", *, topic: str, bytes_max: int) -> "SpoolDirectory":
    """Where the spools are, tried by writing there.

    Raises ValueError for a directory that cannot be used, ImportError for a Python without sqlite3, or a system without file locks.
    """
    from pathlib import Path

    from taximeter_emitter.spool.spool_directory import SpoolDirectory
    from taximeter_emitter.spool.spool_failed import SpoolFailed

    directory = SpoolDirectory(Path(path), topic=topic, bytes_max=bytes_max)
    try:
        directory.probe()
    except SpoolFailed as failure:
        raise ValueError(str(failure)) from None
    return directory


def _missing(error: ModuleNotFoundError, module: str, extra: str, need: str) -> ModuleNotFoundError:
    if error.name != module:
        return error
    return ModuleNotFoundError(f"{need}, which is not installed: pip install 'taximeter-emitter[{extra}]'", name=module)
