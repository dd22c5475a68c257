"""Metrics of the gateway."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from taximeter_emitter.wire.errors import Reason

from ingest.refusals import Refusal
from metering.process.connections import CLOSED
from metering.process.metrics import COUNTS, HTTP_SECONDS, SIZE_BYTES, counter, gauge, histogram

_OF_EVENTS: Final = (Refusal.FORBIDDEN.reason, Refusal.SOURCE_NOT_ALLOWED.reason)
_OF_BATCHES: Final = (Refusal.FORBIDDEN.reason, Refusal.FOREIGN_EMITTER.reason, Refusal.TOO_MANY_EVENTS.reason)
_AGE_SECONDS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 3600.0, 21600.0, 86400.0, 604800.0)


@dataclass(frozen=True, slots=True)
class GatewayMetrics:
    """All are updated once a request or once a batch, never once an event."""

    requests: Counter
    request_seconds: Histogram
    requests_in_flight: Gauge
    refused: Counter
    body_bytes: Histogram
    request_events: Histogram
    received: Counter
    accepted: Counter
    rejected: Counter
    unknown: Counter
    event_age: Histogram
    key_events: Counter
    key_expiry: Gauge
    emitter_batches: Counter
    batches_rejected: Counter
    batches: Counter
    produce_seconds: Histogram
    produce_failures: Counter
    in_flight_bytes: Gauge
    in_flight_limit: Gauge
    refused_partitions: Gauge
    connected: Gauge
    connections: Gauge
    connections_limit: Gauge
    connections_closed: Counter
    topic_problems: Gauge
    foreign_records: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare the metrics on this registry."""
        prefix = "taximeter_gateway"
        return cls(
            foreign_records=counter(
                registry,
                f"{prefix}_foreign_records_total",
                "Records of mappings, by the path that they came to. Those set aside become dead letters; those left out are none of events.",
                labels={"mapped_path": (), "outcome": ()},
            ),
            topic_problems=gauge(registry, f"{prefix}_topic_problems", "What is wrong with the topics at the brokers, as the log says."),
            requests=counter(registry, f"{prefix}_http_requests_total", "Requests answered, by status code.", labels={"code": ()}),
            request_seconds=histogram(
                registry,
                f"{prefix}_http_request_duration_seconds",
                "Time from the head of a request to its answer, waiting for Kafka included.",
                unit="seconds",
                buckets=HTTP_SECONDS,
            ),
            requests_in_flight=gauge(registry, f"{prefix}_http_requests_in_flight", "Requests that are being answered."),
            refused=counter(
                registry,
                f"{prefix}_requests_refused_total",
                "Requests refused as a whole, by reason.",
                labels={"reason": sorted({refusal.reason for refusal in Refusal})},
            ),
            body_bytes=histogram(registry, f"{prefix}_request_body_bytes", "Size of request bodies.", unit="bytes", buckets=SIZE_BYTES),
            request_events=histogram(registry, f"{prefix}_request_events", "Events in a request.", buckets=COUNTS),
            received=counter(registry, f"{prefix}_events_received_total", "Events read from bodies, acceptable or not."),
            accepted=counter(registry, f"{prefix}_events_accepted_total", "Events that Kafka acknowledged before the request was answered."),
            rejected=counter(
                registry,
                f"{prefix}_events_rejected_total",
                "Events refused, by reason.",
                labels={"reason": [*(str(reason) for reason in Reason), *_OF_EVENTS]},
            ),
            unknown=counter(
                registry,
                f"{prefix}_events_unknown_total",
                "Events that may or may not have arrived; the answer asked the sender to send them again.",
            ),
            event_age=histogram(
                registry,
                f"{prefix}_event_age_seconds",
                "Age of the oldest event of a request on arrival: late senders and wrong clocks.",
                unit="seconds",
                buckets=_AGE_SECONDS,
            ),
            key_events=counter(
                registry,
                f"{prefix}_key_events_total",
                "Events by the name of the API key that they came with; beyond 100 keys, `other`.",
                labels={"key": (), "outcome": ("accepted", "rejected", "unknown")},
            ),
            key_expiry=gauge(
                registry,
                f"{prefix}_key_expiry_timestamp_seconds",
                "When an API key expires, or expired, by its name; only of keys that do.",
                unit="seconds",
                labels={"key": ()},
            ),
            emitter_batches=counter(
                registry,
                f"{prefix}_emitter_batches_total",
                "Batches and heartbeats of emitters that were to be passed on, by outcome.",
                labels={"outcome": ("accepted", "rejected", "unknown")},
            ),
            batches_rejected=counter(
                registry,
                f"{prefix}_emitter_batches_rejected_total",
                "Batches of emitters that were not passed on, by reason.",
                labels={"reason": [*(str(reason) for reason in Reason), *_OF_BATCHES]},
            ),
            batches=counter(registry, f"{prefix}_batches_total", "Batches given to Kafka's client."),
            produce_seconds=histogram(
                registry,
                f"{prefix}_produce_duration_seconds",
                "Time from a batch's closing to its acknowledgement.",
                unit="seconds",
                buckets=HTTP_SECONDS,
            ),
            produce_failures=counter(registry, f"{prefix}_produce_failures_total", "Batches that were given up; whether they arrived is unknown."),
            in_flight_bytes=gauge(registry, f"{prefix}_in_flight_bytes", "Request bodies and unacknowledged batches.", unit="bytes"),
            in_flight_limit=gauge(
                registry, f"{prefix}_in_flight_limit_bytes", "Bytes in flight above which requests are refused with 503.", unit="bytes"
            ),
            refused_partitions=gauge(
                registry, f"{prefix}_refused_partitions", "Partitions whose events are answered with 503, because Kafka does not acknowledge them."
            ),
            connected=gauge(registry, f"{prefix}_connected", "1 while there is a working connection to Kafka."),
            connections=gauge(registry, f"{prefix}_connections", "Connections of clients."),
            connections_limit=gauge(registry, f"{prefix}_connections_limit", "Connections at which a new one takes the place of an older one."),
            connections_closed=counter(
                registry,
                f"{prefix}_connections_closed_total",
                "Connections that the gateway closed or refused, by reason.",
                labels={"reason": CLOSED},
            ),
        )
