"""`taximeter stripe listen` as a process, against the simulator and against an address that is not one."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import stripe

from taximeter.exit_codes import FAILED, OK, PRECONDITION, USAGE
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS

PATIENCE_S = 60.0
SECRET = "whsec_given1234"


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path)
    process.start()
    process.call("POST", "/_control/config", {"limits": NO_LIMITS})
    yield process
    assert process.stop() == 0


def client_of(simulator: SimulatorProcess) -> stripe.StripeClient:
    return stripe.StripeClient(KEY, base_addresses={"api": simulator.url}, http_client=stripe.UrllibClient())


def environment(api_base: str, **more: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TAXIMETER_", "STRIPE_"))}
    return {**own, "STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": api_base, **more}


@contextmanager
def listening(folder: Path, api_base: str, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command, in any state; its output goes to the files `out` and `err`."""
    command = [sys.executable, "-m", "taximeter", "stripe", "listen", "--port", "0", *options]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, cwd=folder, env=environment(api_base), stdout=out, stderr=err)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def text_of(folder: Path, process: subprocess.Popen[bytes], name: str, awaited: str) -> str:
    """The file, once it contains this text."""
    deadline = time.monotonic() + PATIENCE_S
    while awaited not in (text := (folder / name).read_text()):
        assert process.poll() is None, (folder / "err").read_text()
        assert time.monotonic() < deadline, text
        time.sleep(0.05)
    return text


def registered(simulator: SimulatorProcess) -> tuple[int, int]:
    """How many endpoints and destinations Stripe has."""
    client = client_of(simulator)
    return len(client.v1.webhook_endpoints.list().data), len(client.v2.core.event_destinations.list().data)


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGINT) -> int:
    process.send_signal(number)
    return process.wait(PATIENCE_S)


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_events_are_shown_and_what_was_registered_is_removed(simulator: SimulatorProcess, tmp_path: Path, number: signal.Signals) -> None:
    with listening(tmp_path, simulator.url) as process:
        text_of(tmp_path, process, "err", "listening")
        assert registered(simulator) == (1, 0)
        customer = client_of(simulator).v1.customers.create({"name": "Ada"})
        shown = text_of(tmp_path, process, "out", "customer.created")
        assert customer.id in shown
        assert end(process, number) == OK
    assert registered(simulator) == (0, 0)
    assert "whsec_" not in shown + (tmp_path / "err").read_text()


def test_thin_events_are_fetched_and_told_apart(simulator: SimulatorProcess, tmp_path: Path) -> None:
    client = client_of(simulator)
    client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
    with listening(tmp_path, simulator.url, "--thin", "--json", "--events", "customer.created") as process:
        text_of(tmp_path, process, "err", "listening")
        assert registered(simulator) == (1, 1)
        client.v1.billing.meter_events.create(
            {"event_name": "tokens", "payload": {"stripe_customer_id": "cus_nobody", "value": "1"}, "identifier": "tm-ab-3-0-1-0"},
            {"idempotency_key": "tm-ab-3-0-1-0"},
        )
        simulator.call("POST", "/_control/clock", {"advance_ms": 30_000})
        client.v1.customers.create({"name": "Ada"})
        text_of(tmp_path, process, "out", "customer.created")
        found = {row["type"]: row for row in rows(text_of(tmp_path, process, "out", "error_report_triggered"))}
        assert end(process) == OK
    assert set(found) == {"customer.created", "v1.billing.meter.error_report_triggered"}
    assert not found["customer.created"]["thin"]
    report = found["v1.billing.meter.error_report_triggered"]
    assert report["thin"]
    assert report["object"].startswith("mtr_")
    assert report["details"] == "1 x meter_event_customer_not_found tm-ab-3-0-1-0"
    assert registered(simulator) == (0, 0)


def test_when_the_second_registration_fails_the_first_is_removed(simulator: SimulatorProcess, tmp_path: Path) -> None:
    simulator.call("POST", "/_control/script", {"route": "v2.event_destinations.create", "kind": "server_error_after", "times": 1})
    with listening(tmp_path, simulator.url, "--thin") as process:
        assert process.wait(PATIENCE_S) == FAILED
    assert registered(simulator) == (0, 0)


def test_stripe_itself_cannot_reach_this_machine_so_the_way_is_told(tmp_path: Path) -> None:
    with listening(tmp_path, "https://api.stripe.com") as process:
        assert process.wait(PATIENCE_S) == PRECONDITION
    told = (tmp_path / "out").read_text()
    assert "stripe listen --forward-to localhost:4242/webhooks/stripe" in told
    assert "v1.billing.meter.error_report_triggered,v1.billing.meter.no_meter_found" in told


def test_with_the_secret_of_stripes_cli_nothing_is_registered_and_no_secret_is_shown(tmp_path: Path) -> None:
    with listening(tmp_path, "https://api.stripe.com", "--secret", SECRET, "--json") as process:
        address = text_of(tmp_path, process, "err", "; Ctrl-C").partition("listening on ")[2].partition(";")[0]
        body = json.dumps({"id": "evt_1", "object": "event", "type": "invoice.paid", "created": 0, "data": {"object": {"id": "in_1"}}})
        header = stripe.WebhookSignature.generate_signature_header(body, SECRET)
        post(address, body, header)
        post(address, body, header)
        post(address, body, "t=1,v1=00")
        text_of(tmp_path, process, "err", "refused: bad_signature")
        deadline = time.monotonic() + PATIENCE_S
        while len(found := rows((tmp_path / "out").read_text())) < 2:
            assert time.monotonic() < deadline
        assert end(process) == OK
    assert [(row["id"], row["object"], row["again"]) for row in found] == [("evt_1", "in_1", False), ("evt_1", "in_1", True)]
    assert SECRET not in (tmp_path / "out").read_text() + (tmp_path / "err").read_text()


@pytest.mark.parametrize("options", [["--port", "65536"], ["--events", ","]])
def test_arguments_that_mean_nothing_are_refused(tmp_path: Path, options: list[str]) -> None:
    with listening(tmp_path, "https://api.stripe.com", *options) as process:
        assert process.wait(PATIENCE_S) == USAGE


def post(address: str, body: str, header: str) -> None:
    client = stripe.UrllibClient()
    client.request("post", address, {"Stripe-Signature": header, "Content-Type": "application/json"}, body)
