from dataclasses import replace

from aggregator.app import fetch_limits
from aggregator.settings import AggregatorSettings


def test_kafka_waits_for_more_events_but_never_for_a_whole_interval_of_tallies() -> None:
    settings = AggregatorSettings()
    assert fetch_limits(settings).wait_ms_max == 250
    assert fetch_limits(replace(settings, flush_seconds=0.1)).wait_ms_max == 50
    assert fetch_limits(replace(settings, gather_seconds=0.0)).wait_ms_max == 0


def test_one_partition_that_is_behind_fills_a_fetch_alone() -> None:
    limits = fetch_limits(AggregatorSettings())
    assert 1 < limits.bytes_min <= limits.partition_bytes_max
