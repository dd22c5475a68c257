"""The effective configuration of the clients: the library's defaults are wrong for money, so each option is asserted on the object itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.codec import has_lz4, has_snappy, has_zstd
from aiokafka.errors import KafkaConnectionError
from taximeter_emitter.transports.kafka_connection import make_producer

from metering.configuration.secrets import Secret
from metering.configuration.settings import SettingsError, load
from metering.kafka.clients import FetchLimits, KafkaSettings, make_admin, make_group_consumer, make_log_reader, started
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX

NOWHERE = KafkaSettings(bootstrap_servers=("127.0.0.1:1",), request_timeout_seconds=7)


@asynccontextmanager
async def closing(client: Any) -> AsyncIterator[Any]:
    """An unstarted client must be stopped too, or the library warns."""
    try:
        yield client
    finally:
        await client.stop()


def assert_reads_safely(consumer: Any) -> None:
    assert consumer._enable_auto_commit is False
    assert consumer._auto_offset_reset == "none"
    assert consumer._isolation_level == "read_committed"
    assert consumer._check_crcs is True
    assert consumer._request_timeout_ms == 7000
    assert consumer._subscription.subscription is None


async def test_a_group_consumer_never_commits_or_moves_by_itself() -> None:
    fetch = FetchLimits(records_max=9, bytes_max=8, partition_bytes_max=7, wait_ms_max=6, bytes_min=5)
    made = make_group_consumer(NOWHERE, group_id="g", client_id="aggregator", instance_id="one", fetch=fetch)
    async with closing(made) as consumer:
        assert_reads_safely(consumer)
        assert (consumer._group_id, consumer._group_instance_id) == ("g", "one")
        assert (consumer._session_timeout_ms, consumer._heartbeat_interval_ms) == (10_000, 3_333)
        assert (consumer._rebalance_timeout_ms, consumer._max_poll_interval_ms) == (30_000, 300_000)
        assert consumer._client._client_id == "taximeter-aggregator"
        assert consumer._max_poll_records == 9
        assert (consumer._fetch_max_bytes, consumer._max_partition_fetch_bytes, consumer._fetch_max_wait_ms) == (8, 7, 6)
        assert consumer._fetch_min_bytes == 5


async def test_a_log_reader_is_in_no_group_and_as_safe() -> None:
    async with closing(make_log_reader(NOWHERE, client_id="verify")) as consumer:
        assert_reads_safely(consumer)
        assert consumer._group_id is None
        assert consumer._max_poll_records == 500
        assert consumer._fetch_min_bytes == 1


async def test_the_library_really_understands_no_reset_as_none() -> None:
    from aiokafka.consumer.fetcher import OffsetResetStrategy

    assert OffsetResetStrategy.from_str("none") == OffsetResetStrategy.NONE


async def test_a_producer_waits_for_all_replicas_and_is_idempotent() -> None:
    async with closing(make_producer(NOWHERE.options(), client_id="ingest", record_bytes_max=CHAIN_RECORD_BYTES_MAX, linger_ms=5)) as producer:
        assert producer._sender._acks == -1
        assert producer._txn_manager is not None
        assert producer._txn_manager.transactional_id is None
        assert producer._max_request_size > CHAIN_RECORD_BYTES_MAX
        assert producer._message_accumulator._linger_time == 0.005
        assert producer._request_timeout_ms == 7000
        assert producer._compression_type is None


@pytest.mark.parametrize("compression", ["gzip", "lz4", "snappy", "zstd"])
async def test_every_compression_that_can_be_configured_is_installed(compression: str) -> None:
    settings = KafkaSettings(bootstrap_servers=("127.0.0.1:1",), compression=compression)
    async with closing(make_producer(settings.options(), client_id="ingest", record_bytes_max=CHAIN_RECORD_BYTES_MAX)) as producer:
        assert producer._compression_type == compression
    assert has_lz4()
    assert has_snappy()
    assert has_zstd()


async def test_the_admin_client_takes_the_same_connection_options() -> None:
    settings = KafkaSettings(bootstrap_servers=("127.0.0.1:1",), security_protocol="SASL_SSL", sasl_username="u", sasl_password=Secret("planted"))
    admin = make_admin(settings, client_id="provision")
    assert admin._client._sasl_mechanism == "SCRAM-SHA-512"
    assert admin._client._sasl_plain_password == "planted"
    assert admin._client._ssl_context.check_hostname
    assert admin._client._ssl_context.verify_mode.name == "CERT_REQUIRED"
    await admin.close()


async def test_started_stops_a_client_that_could_not_start() -> None:
    with pytest.raises(KafkaConnectionError):
        async with started(make_producer(NOWHERE.options(), client_id="ingest", record_bytes_max=CHAIN_RECORD_BYTES_MAX)):
            pass
    consumer: AIOKafkaConsumer = make_group_consumer(NOWHERE, group_id="g", client_id="c")
    with pytest.raises(KafkaConnectionError):
        async with started(consumer):
            pass
    assert consumer._closed
    assert len(asyncio.all_tasks()) == 1


def problems(**environ: str) -> tuple[str, ...]:
    variables = {f"TAXIMETER_KAFKA_{name.upper()}": value for name, value in environ.items()}
    with pytest.raises(SettingsError) as caught:
        load(KafkaSettings, environ={"KAFKA_BOOTSTRAP_SERVERS": "a:9092", **variables}, section="kafka")
    return caught.value.problems


def test_settings_that_contradict_each_other_are_refused() -> None:
    assert "needs sasl_username and sasl_password" in problems(security_protocol="SASL_SSL")[0]
    assert "security_protocol is PLAINTEXT" in problems(sasl_password="planted")[0]
    assert "planted" not in problems(sasl_password="planted")[0]
    assert "needs ssl_certfile" in problems(ssl_keyfile="/nonexistent")[0]
    assert "not a file" in problems(ssl_cafile="/nonexistent")[0]
    assert "topic_prefix" in problems(topic_prefix="a b")[0]
    assert "not host:port" in problems(bootstrap_servers="broker")[0]
    assert "is empty" in problems(bootstrap_servers=",")[0]


@pytest.mark.parametrize("server", ["a:9092", "10.0.0.1:9092", "[::1]:9092", "broker.example.com:19092"])
def test_usual_addresses_are_taken(server: str) -> None:
    assert load(KafkaSettings, environ={"KAFKA_BOOTSTRAP_SERVERS": server}, section="kafka").bootstrap_servers == (server,)


def test_topic_names_take_the_prefix() -> None:
    settings = KafkaSettings(bootstrap_servers=("a:1",), topic_prefix="blue.usage")
    assert [spec.name for spec in settings.topics] == [
        "blue.usage.events",
        "blue.usage.tallies",
        "blue.usage.ledger",
        "blue.usage.deadletters",
        "blue.usage.catalogue",
        "blue.usage.customers",
    ]


def test_two_installations_on_one_cluster_share_no_group() -> None:
    blue, green = (KafkaSettings(bootstrap_servers=("a:1",), topic_prefix=prefix) for prefix in ("blue", "green"))
    assert blue.group_id("aggregator", "") == "taximeter-aggregator-blue"
    assert len({blue.group_id(service, "") for service in ("aggregator", "reporter")} | {green.group_id("aggregator", "")}) == 3
    assert blue.group_id("aggregator", "ours") == "ours"
