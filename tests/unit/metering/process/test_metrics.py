from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from metering.process.metrics import HTTP_SECONDS, CommonMetrics, MetricRow, catalogue, counter, gauge, histogram


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_known_label_values_start_at_zero(registry: CollectorRegistry) -> None:
    labels = {"reason": ("late", "conflict"), "source": ("http", "sdk")}
    counter(registry, "taximeter_events_total", "Events.", labels=labels)
    text = generate_latest(registry).decode()
    for reason in ("late", "conflict"):
        for source in ("http", "sdk"):
            assert f'taximeter_events_total{{reason="{reason}",source="{source}"}} 0.0' in text


def test_labels_known_only_at_run_time_start_empty(registry: CollectorRegistry) -> None:
    lag = gauge(registry, "taximeter_lag_records", "Lag.", labels={"partition": ()})
    assert "taximeter_lag_records{" not in generate_latest(registry).decode()
    lag.labels("3").set(5)
    assert registry.get_sample_value("taximeter_lag_records", {"partition": "3"}) == 5


def test_the_catalogue_lists_name_type_unit_labels_and_meaning(registry: CollectorRegistry) -> None:
    counter(registry, "taximeter_read_bytes_total", "Bytes read.", unit="bytes")
    histogram(registry, "taximeter_wait_seconds", "Waits.", unit="seconds", buckets=HTTP_SECONDS, labels={"route": ("events",)})
    gauge(registry, "taximeter_last_timestamp_seconds", "When.", unit="timestamp_seconds")
    assert catalogue(registry) == (
        MetricRow(name="taximeter_read_bytes_total", type="counter", unit="bytes", labels={}, doc="Bytes read."),
        MetricRow(name="taximeter_wait_seconds", type="histogram", unit="seconds", labels={"route": ("events",)}, doc="Waits."),
        MetricRow(name="taximeter_last_timestamp_seconds", type="gauge", unit="timestamp_seconds", labels={}, doc="When."),
    )
    assert catalogue(CollectorRegistry()) == ()


@pytest.mark.parametrize(
    ("make", "name", "options"),
    [
        (counter, "taximeter_events", {}),
        (counter, "events_total", {}),
        (counter, "taximeter_Events_total", {}),
        (counter, "taximeter_events_total_", {}),
        (gauge, "taximeter_events_total", {}),
        (gauge, "taximeter_wait_ms", {}),
        (gauge, "taximeter_wait_seconds", {}),
        (gauge, "taximeter_wait", {"unit": "seconds"}),
        (gauge, "taximeter_wait_milliseconds", {"unit": "milliseconds"}),
        (gauge, "taximeter_fill_percent", {}),
        (gauge, "taximeter_rows_count", {}),
        (gauge, "taximeter_rows", {"labels": {"customer": ()}}),
        (gauge, "taximeter_rows", {"labels": {"a": tuple("abcdefghijklmno"), "b": tuple("abcdefghijklmno")}}),
        (gauge, "taximeter_rows", {"doc": "no full stop"}),
    ],
)
def test_a_metric_off_the_conventions_does_not_construct(
    registry: CollectorRegistry, make: Callable[..., Any], name: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"taximeter_|events_total"):
        make(registry, name, **{"doc": "A sentence.", **options})
    assert catalogue(registry) == ()
    assert generate_latest(registry) == b""


def test_one_name_cannot_be_declared_twice(registry: CollectorRegistry) -> None:
    gauge(registry, "taximeter_rows", "Rows.")
    with pytest.raises(ValueError, match="Duplicated"):
        gauge(registry, "taximeter_rows", "Rows.")
    assert len(catalogue(registry)) == 1


def test_common_metrics_name_the_build_and_the_process(registry: CollectorRegistry) -> None:
    common = CommonMetrics.create(registry, service="ingest", version="1.2", commit="abc")
    common.log_messages.labels("error").inc()
    text = generate_latest(registry).decode()
    assert 'commit="abc"' in text
    assert 'taximeter_log_messages_total{level="error"} 1.0' in text
    assert "process_resident_memory_bytes" in text
    assert "python_info" in text
    assert {row.name for row in catalogue(registry)} == {
        "taximeter_build_info",
        "taximeter_log_messages_total",
        "taximeter_ready",
        "taximeter_event_loop_lag_seconds",
        "taximeter_descriptors_exhausted_total",
    }
