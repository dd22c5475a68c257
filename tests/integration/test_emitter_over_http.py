"""Emitters that send through a gateway process, up to the bill: the gateway is killed while they emit, and not one event is lost or doubled."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import stripe
from taximeter_emitter import Emitter

from metering.configuration.key_file import create_key
from metering.kafka.clients import KafkaSettings
from taximeter.exit_codes import OK, PENDING
from tests.support.aggregator_process import aggregator
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.gateway_process import GatewayProcess, environment, gateway
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS
from tests.support.usage_topic import make_topics, read_events_topic, settings_for
from tests.support.waiting import until

pytestmark = pytest.mark.broker

CUSTOMERS: Final = [f"cus_{number}" for number in range(7)]
PATIENCE_S: Final = 120.0


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    settings = settings_for(broker)
    asyncio.run(make_topics(settings))
    return settings


@pytest.fixture
def port() -> int:
    """A port that is free now, and is used again after a kill."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path)
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        process.call("POST", "/_control/customers", {"ids": CUSTOMERS})
        client = stripe.StripeClient(KEY, base_addresses={"api": process.url}, http_client=stripe.UrllibClient())
        client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
        yield process
    finally:
        process.stop()


def emit_numbers(emitter: Emitter, numbers: range) -> None:
    for number in numbers:
        assert emitter.emit(customer=CUSTOMERS[number % 7], usage={"n": 1, "m": number})


def kill(running: GatewayProcess) -> None:
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()


def taximeter(kafka: KafkaSettings, folder: Path, *arguments: str, **variables: str) -> tuple[int, Any]:
    command = [sys.executable, "-m", "taximeter", *arguments, "--json"]
    config = ["--config", str(folder / "taximeter.toml")] if arguments[:2] != ("spool", "list") else []
    done = subprocess.run([*command, *config], capture_output=True, text=True, check=False, env=environment(kafka, variables), timeout=120)
    return done.returncode, json.loads(done.stdout) if done.stdout else done.stderr


def test_a_gateway_that_is_killed_while_events_come_costs_nothing_and_verify_says_exact(
    kafka: KafkaSettings, port: int, simulator: SimulatorProcess, tmp_path: Path
) -> None:
    key, folder = create_key(tenant="a"), tmp_path / "gateway"
    (tmp_path / "keys.toml").write_text(key.entry)
    options: Mapping[str, Any] = {"port": port, "api_keys_file": tmp_path / "keys.toml"}
    variables = {
        **reporting_to(simulator.url),
    }
    with aggregator(kafka, tmp_path / "aggregator") as counting, reporter(kafka, tmp_path / "reporter", variables) as reporting:
        # Away at the start: the spool is there from the first event on.
        emitter = Emitter(f"http://127.0.0.1:{port}", api_key=key.token, source="test", spool_dir=tmp_path / "spool")
        emit_numbers(emitter, range(500))
        until(lambda: emitter.stats().spooled_events == 500)
        for start in (500, 4_000, 8_000):
            with gateway(kafka, folder, **options) as running:
                until(lambda: emitter.stats().connected)
                for step in range(start, start + 3_000, 100):
                    emit_numbers(emitter, range(step, step + 100))
                    time.sleep(0.02)
                kill(running)
            emit_numbers(emitter, range(start + 3_000, start + 3_500 + 500 * (start == 4_000)))
            until(lambda: not emitter.stats().connected)
        with gateway(kafka, folder, **options) as running:
            stats = emitter.close(60.0)
            events = stats.counts.emitted
            assert stats.counts.batches_retried > 0
            assert (stats.counts.lost, stats.counts.dropped, stats.counts.refused, stats.spooled_events) == (0, 0, 0, 0)
            assert key.token.split("_")[2] not in running.log
            deadline = time.monotonic() + PATIENCE_S
            while simulator_units(simulator) < sum(range(events)) + events:
                assert time.monotonic() < deadline, counting.log + reporting.log
                time.sleep(0.1)
            simulator.call("POST", "/_control/clock", {"advance_ms": 300_000})
            told = {"STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": simulator.url}
            verified = taximeter(kafka, folder, "verify", "--with-stripe", **told)
            while verified[0] == PENDING:  # the last receipts are on their way
                assert time.monotonic() < deadline, verified
                verified = taximeter(kafka, folder, "verify", "--with-stripe", **told)
            assert (verified[0], verified[1]["verdict"]) == (OK, "EXACT"), verified
            own = [line for line in verified[1]["emitters"] if line["emitter"].startswith(stats.emitter)]
            assert sum(line["received"] for line in own) == events
            assert {(line["state"], line["missing"]) for line in own} == {("closed", 0)}
    batches = [batch for batch in batches_of(asyncio.run(read_events_topic(kafka))) if not batch.emitter.startswith("gateway-")]
    assert quantities(batches, "m") == list(range(events))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == events


def simulator_units(simulator: SimulatorProcess) -> int:
    """What Stripe has summed, of everybody."""
    return sum(int(event["value"]) for event in simulator.call("GET", "/_oracle/events")["events"])


PROGRAM = """
import sys
from taximeter_emitter import Emitter
url, key, spool = sys.argv[1:]
emitter = Emitter(url, api_key=key, source="test", spool_dir=spool)
for number in range(100):
    emitter.emit(customer="cus_%d" % (number % 7), usage=dict(n=number))
"""


def test_three_lines_are_enough_and_what_stays_on_disk_is_sent_by_the_command(kafka: KafkaSettings, port: int, tmp_path: Path) -> None:
    bound, everybody, spool = create_key(tenant="a", customers=("cus_0",)), create_key(tenant="b"), tmp_path / "spool"
    (tmp_path / "keys.toml").write_text(bound.entry + everybody.entry)
    (tmp_path / "key").write_text(f"{everybody.token}\n")
    (tmp_path / "taximeter.toml").write_text("")
    url = f"http://127.0.0.1:{port}"

    def life(token: str) -> None:
        done = subprocess.run([sys.executable, "-c", PROGRAM, url, token, str(spool)], capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        assert token not in done.stderr

    life(everybody.token)  # nobody is there
    with gateway(kafka, tmp_path / "gateway", port=port, api_keys_file=tmp_path / "keys.toml"):
        send = ("spool", "send", str(spool), "--yes", "--gateway", url, "--api-key-file", str(tmp_path / "key"))
        code, sent = taximeter(kafka, tmp_path, *send)
        assert (code, sent["sent_events"], list(spool.glob("*.spool"))) == (OK, 100, [])
        # A key that may not send for everybody: what is refused stays, is listed with its reason, and is sent when somebody says so.
        life(bound.token)
        code, listed = taximeter(kafka, tmp_path, "spool", "list", str(spool))
        ((state, refused, why),) = [(one["state"], one["refused_events"], one["why"]) for one in listed["spools"]]
        assert (state, refused > 0, why.startswith("customer_not_allowed")) == ("refused", True, True)
        code, sent = taximeter(kafka, tmp_path, *send)
        assert (code, sent["to_send"], "--refused" in sent["left_alone"][0]["reason"]) == (OK, [], True)
        code, sent = taximeter(kafka, tmp_path, *send, "--refused")
        assert (code, sent["sent_events"], list(spool.glob("*.spool"))) == (OK, refused, [])
    batches = [batch for batch in batches_of(asyncio.run(read_events_topic(kafka))) if not batch.emitter.startswith("gateway-")]
    assert gaps(batches) == {}
    assert sum(batch.count for batch in batches) == 200
