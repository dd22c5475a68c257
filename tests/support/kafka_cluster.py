"""A cluster of three Apache Kafka brokers, for tests that need one: started once for a test process, and not before a test asks."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from taximeter_sandbox.brokers.apache_cluster import ApacheCluster
from taximeter_sandbox.brokers.interface import BrokerUnavailable

from tests.support.broker import CHOSEN


@contextmanager
def cluster_of_three() -> Iterator[ApacheCluster]:
    """The running cluster. A test that stops or freezes a node brings it back. Skips where there is no Java or no Maven, or without wish for them."""
    if os.environ.get("KAFKA_BROKER", "apache") != "apache":
        pytest.skip(f"a cluster is Apache Kafka's, and KAFKA_BROKER is {os.environ['KAFKA_BROKER']}")
    try:
        cluster = ApacheCluster()
    except BrokerUnavailable as error:
        pytest.skip(f"no cluster of Apache Kafka: {error}")
    cluster.start()
    CHOSEN.add(f"{cluster.describe()} (for the tests of a cluster)")
    try:
        yield cluster
    finally:
        cluster.stop()
