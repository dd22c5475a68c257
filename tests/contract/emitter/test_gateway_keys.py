"""An emitter whose key is wrong, is replaced, or may not send for everybody: nothing is lost, and what cannot go keeps nothing else."""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter import Emitter
from taximeter_emitter.spool.spool_file import look_at, spool_paths, take_back

from ingest.admission.api_keys import ApiKeys
from metering.configuration.key_file import CreatedKey, create_key, parse_keys
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.gateway_in_thread import GatewayInThread, gateway_in_thread
from tests.support.waiting import until

EVERYBODY, BOUND = create_key(tenant="a"), create_key(tenant="b", customers=("cus_1", "cus_2"))


def keys(*created: CreatedKey) -> ApiKeys:
    return ApiKeys(parse_keys("".join(key.entry for key in created)))


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taximeter_emitter.sender._IDLE_SECONDS", 0.05)
    monkeypatch.setattr("taximeter_emitter.emitter._SECURE_SECONDS", 0.1)
    monkeypatch.setattr("taximeter_emitter.transports.gateway_producer._UNAUTHORIZED_SECONDS", 0.05)


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def gateway(kafka: FakeKafka) -> Iterator[GatewayInThread]:
    with gateway_in_thread(kafka, keys(EVERYBODY, BOUND)) as running:
        yield running


def emitter_of(gateway: GatewayInThread, key: CreatedKey | str, **options: Any) -> Emitter:
    token = key if isinstance(key, str) else key.token
    return Emitter(gateway.url, api_key=token, source="test", linger_ms=5, **options)


def emit_numbers(emitter: Emitter, numbers: range, customer: str = "") -> None:
    for number in numbers:
        assert emitter.emit(customer=customer or f"cus_{number % 17}", usage={"n": number})


def test_with_a_wrong_key_everything_waits_on_disk_and_the_right_one_sends_it(
    gateway: GatewayInThread, kafka: FakeKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    registry, wrong = CollectorRegistry(), f"{EVERYBODY.token}0"
    with caplog.at_level(logging.DEBUG):
        emitter = emitter_of(gateway, wrong, spool_dir=tmp_path, registry=registry)
        emit_numbers(emitter, range(300))
        until(lambda: emitter.stats().counts.failures.get("unauthorized", 0) >= 3)
        until(lambda: emitter.stats().spooled_events == 300)
        stats = emitter.close(1.0)
    assert "401 unauthorized: is the API key right?" in stats.last_error
    assert (stats.counts.spooled, stats.counts.lost) == (300, 0)
    assert (registry.get_sample_value("taximeter_emitter_send_failures_total", {"reason": "unauthorized"}) or 0) >= 3
    assert registry.get_sample_value("taximeter_emitter_connected") == 0
    said = [record for record in caplog.records if "nothing can be sent" in record.message]
    assert len(said) == 1
    assert not any(wrong.split("_")[2] in record.getMessage() for record in caplog.records)
    with emitter_of(gateway, EVERYBODY, spool_dir=tmp_path) as right:
        until(lambda: right.stats().counts.adopted == 300)
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(300))
    assert gaps(batches) == {}


def test_a_key_is_replaced_while_events_come(gateway: GatewayInThread, kafka: FakeKafka, tmp_path: Path) -> None:
    first = emitter_of(gateway, EVERYBODY, spool_dir=tmp_path)
    emit_numbers(first, range(100))
    until(lambda: first.stats().counts.sent == 100)
    new = create_key(tenant="a")
    gateway.replace_keys(*parse_keys(new.entry).values())
    emit_numbers(first, range(100, 200))
    until(lambda: first.stats().spooled_events == 100)
    stats = first.close(1.0)
    # Its batches are numbered and wait on disk. They go under the new key as they are, and under their own name.
    with emitter_of(gateway, new, spool_dir=tmp_path) as second:
        until(lambda: second.stats().counts.adopted == 100)
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(200))
    assert gaps(batches) == {}
    assert {batch.emitter for batch in batches if batch.count} == {stats.emitter}
    assert sum(finals(batches).values()) == 200


def _failed(emitter: Emitter) -> bool:
    return emitter.stats().counts.failures.get("unauthorized", 0) >= 2


def _adopted(emitter: Emitter) -> bool:
    return emitter.stats().counts.adopted == 100


def test_an_emitter_whose_key_is_for_other_sources_or_has_expired_says_so_and_keeps_its_events(kafka: FakeKafka, tmp_path: Path) -> None:
    other, past, right = (
        create_key(tenant="a", name="other", sources=("inference/eu",)),
        create_key(tenant="a", name="past", expires_ms=1_000),
        create_key(tenant="a", name="right", sources=("test", "inference/eu")),
    )
    with gateway_in_thread(kafka, keys(other, past, right)) as running:
        for key, why in ((other, "403 source_not_allowed"), (past, "401 key_expired")):
            emitter = emitter_of(running, key, spool_dir=tmp_path / key.entry[14:20])
            emit_numbers(emitter, range(100))
            until(partial(_failed, emitter))
            stats = emitter.close(1.0)
            assert why in stats.last_error
            assert (stats.counts.spooled, stats.counts.lost) == (100, 0)
            with emitter_of(running, right, spool_dir=tmp_path / key.entry[14:20]) as again:
                until(partial(_adopted, again))
    assert quantities(batches_of(kafka.log)) == sorted([*range(100), *range(100)])
    assert {header for headers in kafka.headers for header in headers} == {("api-key-name", b"right")}


def test_a_key_that_brings_too_many_emitters_waits_and_others_do_not(kafka: FakeKafka, tmp_path: Path) -> None:
    with gateway_in_thread(kafka, ApiKeys(parse_keys(EVERYBODY.entry + BOUND.entry), new_emitters_per_day=1)) as running:
        with emitter_of(running, EVERYBODY) as first:
            emit_numbers(first, range(10))
        second = emitter_of(running, EVERYBODY, spool_dir=tmp_path)
        emit_numbers(second, range(10, 20))
        until(lambda: second.stats().counts.failures.get("busy", 0) >= 1)
        with emitter_of(running, BOUND) as third:
            emit_numbers(third, range(20, 30), "cus_1")
        stats = second.close(0.5)
    assert (third.stats().counts.sent, stats.counts.spooled, stats.counts.lost) == (10, 10, 0)
    assert quantities(batches_of(kafka.log)) == [*range(10), *range(20, 30)]


def test_what_the_key_may_not_send_is_set_aside_by_name_and_comes_back(
    gateway: GatewayInThread, kafka: FakeKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    emitter = emitter_of(gateway, BOUND, spool_dir=tmp_path)
    for start in range(0, 100, 10):
        emit_numbers(emitter, range(start, start + 10), "cus_1")
        emit_numbers(emitter, range(1_000 + start, 1_010 + start), "cus_of_others")
        until(lambda: emitter.stats().buffered_events == 0)
    until(lambda: emitter.stats().counts.sent + emitter.stats().counts.refused == 200)
    refused = emitter.stats().counts.refused
    assert refused >= 100
    emit_numbers(emitter, range(5_000, 5_100), "cus_2")
    stats = emitter.close(10.0)
    assert (stats.counts.sent, stats.counts.refused, stats.counts.lost) == (300 - refused, refused, 0)
    assert any("is not taken, and set aside in the spool" in record.message and "customer_not_allowed" in record.message for record in caplog.records)
    assert "cus_of_others" not in caplog.text
    (path,) = spool_paths(tmp_path)
    found = look_at(path)
    assert found is not None
    assert (found.state, found.events, found.refused) == ("refused", 0, refused)
    assert "customer_not_allowed" in found.why
    # Nobody sends it by itself.
    with emitter_of(gateway, EVERYBODY, spool_dir=tmp_path) as other:
        until(lambda: other.stats().connected)
    assert other.stats().counts.adopted == 0
    take_back(path)
    with emitter_of(gateway, EVERYBODY, spool_dir=tmp_path) as other:
        until(lambda: other.stats().counts.adopted == refused)
    batches = batches_of(kafka.log)
    assert quantities(batches) == [*range(100), *range(1_000, 1_100), *range(5_000, 5_100)]
    assert gaps(batches) == {}
    assert not spool_paths(tmp_path)


def test_without_a_disk_what_is_refused_is_lost_and_said_to_be(gateway: GatewayInThread, caplog: pytest.LogCaptureFixture) -> None:
    emitter = emitter_of(gateway, BOUND)
    emit_numbers(emitter, range(10), "cus_of_others")
    until(lambda: emitter.stats().counts.refused == 10)
    stats = emitter.close(5.0)
    assert (stats.counts.sent, stats.counts.lost, stats.memory_bytes) == (0, 10, 0)
    assert any("lost, because there is no disk" in record.message for record in caplog.records)


def test_batches_of_an_older_version_are_set_aside_because_they_have_no_secret(gateway: GatewayInThread, kafka: FakeKafka, tmp_path: Path) -> None:
    kafka.is_away = True
    old = Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, spool_dir=tmp_path, partitions=4, linger_ms=5)
    emit_numbers(old, range(50))
    old.close(0.5)
    (path,) = spool_paths(tmp_path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE secrets")
        connection.execute("DROP TABLE refused")
        connection.execute("PRAGMA user_version = 2")
    kafka.is_away = False
    with emitter_of(gateway, EVERYBODY, spool_dir=tmp_path) as emitter:
        until(lambda: emitter.stats().counts.refused == 50)
    found = look_at(path)
    assert found is not None
    assert (found.state, found.refused, found.why[:17]) == ("refused", 50, "no_emitter_secret")
    take_back(path)
    with Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, spool_dir=tmp_path) as direct:
        until(lambda: direct.stats().counts.adopted == 50)
    assert quantities(batches_of(kafka.log)) == list(range(50))


def test_a_topic_with_other_partitions_is_not_written_to(gateway: GatewayInThread, kafka: FakeKafka, tmp_path: Path) -> None:
    emitter = emitter_of(gateway, EVERYBODY, spool_dir=tmp_path, partitions=7)
    emit_numbers(emitter, range(50))
    until(lambda: "has 4 partitions; customers were spread over 7" in emitter.stats().last_error)
    stats = emitter.close(1.0)
    assert (stats.counts.spooled, stats.counts.lost, kafka.log) == (50, 0, [])


def test_what_is_set_aside_has_the_bound_of_the_spool(gateway: GatewayInThread, tmp_path: Path) -> None:
    emitter = emitter_of(gateway, BOUND, spool_dir=tmp_path, spool_bytes_max=1024 * 1024)
    for number in range(40):
        assert emitter.emit(customer="cus_of_others", usage={"n": 1}, dimensions={f"k{place}": f"{number}" * 60 for place in range(16)})
    until(lambda: emitter.stats().counts.refused == 40)
    assert emitter.stats().spool_bytes > 0
    for start in range(0, 4_000, 200):
        for number in range(start, start + 200):
            dimensions = {f"k{place}": f"{number}-{place}-" + "v" * 100 for place in range(8)}
            assert emitter.emit(customer="cus_of_others", usage={"n": 1}, dimensions=dimensions)
        until(lambda: emitter.stats().buffered_events == 0)
    until(lambda: emitter.stats().counts.refused == 4_040)
    stats = emitter.close(5.0)
    (path,) = spool_paths(tmp_path)
    found = look_at(path)
    assert found is not None
    assert found.refused + stats.counts.lost == 4_040
    assert 0 < found.refused < 4_040
    assert found.bytes < 2 * 1024 * 1024
