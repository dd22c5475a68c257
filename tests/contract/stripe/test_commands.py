"""`taximeter stripe customer`, `usage` and `send-test-event` through real HTTP."""

import time
from pathlib import Path

import pytest
from taximeter_emitter.clock import SystemClock

from taximeter.exit_codes import FAILED, OK, PENDING, PRECONDITION, USAGE
from taximeter.stripe_commands import send_test_event
from tests.support.stripe_command_line import KEY, CommandLine, command_line, delete, post_event
from tests.support.stripe_simulator_process import SimulatorProcess

HOUR_S = 3600


@pytest.fixture
def commands(simulator_process: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(simulator_process, tmp_path, monkeypatch, capsys)


@pytest.fixture
def with_meter(commands: CommandLine) -> CommandLine:
    commands.setup()
    return commands


def send(commands: CommandLine, customer: str, value: int, at: int | None = None) -> None:
    when = [] if at is None else ["--at", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))]
    commands.done("send-test-event", customer, "--value", str(value), *when)


# Customers


def test_a_new_customer_is_printed_by_its_id_and_shown_as_it_was_given(commands: CommandLine) -> None:
    customer = commands.done("customer", "create", "--name", "Acme", "--email", "a@acme.example", "--metadata", "plan=pro", "--key", "acme")
    shown = commands.run("customer", "show", customer, "--json").document

    assert (shown["id"], shown["name"], shown["email"], shown["key"]) == (customer, "Acme", "a@acme.example", "acme")
    assert shown["metadata"] == {"plan": "pro", "taximeter_key": "acme"}
    assert "Acme" in commands.done("customer", "show", customer)
    assert customer in commands.done("customer", "list")


@pytest.mark.parametrize("email", [[], ["--email", "a@acme.example"]])
def test_a_key_makes_one_customer_however_often_it_is_created(commands: CommandLine, email: list[str]) -> None:
    arguments = ["customer", "create", "--name", "Acme", "--key", "acme", *email, "--json"]
    first, second = commands.run(*arguments).document, commands.run(*arguments).document
    # Stripe has forgotten idempotency keys by then.
    commands.simulator.call("POST", "/_control/clock", {"advance_ms": 25 * HOUR_S * 1000})
    third = commands.run(*arguments).document

    assert first["id"] == second["id"] == third["id"]
    assert (first["is_new"], second["is_new"], third["is_new"]) == (True, False, False)


def test_without_a_key_every_create_makes_a_customer(commands: CommandLine) -> None:
    assert commands.customer() != commands.customer()


def test_an_idempotency_key_of_ones_own_makes_one_customer(commands: CommandLine) -> None:
    arguments = ["customer", "create", "--name", "Acme", "--idempotency-key", "mine"]

    assert commands.done(*arguments) == commands.done(*arguments)


@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "rate_limited", "bad_gateway_before", "conflict", "truncate_after"])
def test_a_customer_is_made_once_although_the_first_answer_is_lost(commands: CommandLine, fault: str) -> None:
    commands.script("customers.create", fault)
    customer = commands.customer()

    assert [each["id"] for each in commands.run("customer", "list", "--json").document["customers"]] == [customer]


def test_a_deleted_customer_is_not_taken_for_the_one_of_its_key(commands: CommandLine) -> None:
    customer = commands.done("customer", "create", "--name", "Acme", "--key", "acme")
    delete(commands, customer)

    assert "deleted" in commands.refused("customer", "create", "--name", "Acme", "--key", "acme")
    assert "deleted" in commands.refused("customer", "show", customer)


def test_what_cannot_be_a_customer_is_refused_before_stripe_is_asked(commands: CommandLine) -> None:
    assert "not an e-mail address" in commands.refused("customer", "create", "--name", "Acme", "--email", "nowhere")
    assert commands.run("customer", "list", "--json").document == {"customers": []}


def test_many_customers_are_listed_over_all_pages(commands: CommandLine) -> None:
    commands.simulator.call("POST", "/_control/customers", {"ids": [f"cus_{number}" for number in range(250)]})

    assert len(commands.run("customer", "list", "--json").document["customers"]) == 250


def test_an_unknown_customer_is_named(commands: CommandLine) -> None:
    assert "'cus_nobody'" in commands.refused("customer", "show", "cus_nobody")


def test_a_key_that_stripe_does_not_take_is_a_precondition(commands: CommandLine) -> None:
    commands.script("customers.list", "key_revoked")
    answer = commands.run("customer", "list")

    assert answer.code == PRECONDITION
    assert KEY not in answer.err


# One event by hand


def test_a_test_event_arrives_with_its_dimensions_and_an_identifier_that_says_what_it_is(with_meter: CommandLine) -> None:
    customer = with_meter.customer()
    answer = with_meter.run("send-test-event", customer, "--value", "812", "--dimension", "model=alpaca-7b")
    [event] = with_meter.simulator.call("GET", "/_oracle/events")["events"]

    assert answer.code == OK
    assert answer.out.strip() == event["identifier"]
    assert event["identifier"].startswith("taximeter-test-")
    assert event["payload"] == {"stripe_customer_id": customer, "value": "812", "model": "alpaca-7b"}
    assert "billed" in answer.err
    assert "ledger" in answer.err


@pytest.mark.parametrize("fault", ["reset_after", "server_error_before", "lock_timeout", "bad_gateway_after"])
def test_a_test_event_counts_once_although_the_first_answer_is_lost(with_meter: CommandLine, fault: str) -> None:
    customer = with_meter.customer()
    with_meter.simulator.call("POST", "/_control/config", {"assumptions": {"server_errors_stored": False}})
    with_meter.script("meter_events.create", fault)
    send(with_meter, customer, 5)

    assert len(with_meter.simulator.call("GET", "/_oracle/events")["events"]) == 1


def test_waiting_ends_when_summaries_show_the_event(with_meter: CommandLine) -> None:
    customer = with_meter.customer()
    with_meter.simulator.call("POST", "/_control/config", {"processing": {"lag_min_ms": 1500, "lag_max_ms": 1500}})
    answer = with_meter.run("send-test-event", customer, "--value", "7", "--wait", "--json")

    assert (answer.code, answer.document["visible"]) == (OK, True)
    assert with_meter.run("usage", customer, "--by", "total", "--from", "2020-01-01T00:00:00Z", "--json").document["usage"][0]["total"] == "7"


def test_waiting_has_an_end(with_meter: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_test_event, "WAIT_S", 0.5)
    customer = with_meter.customer()
    with_meter.simulator.call("POST", "/_control/config", {"processing": {"lag_min_ms": 120_000, "lag_max_ms": 120_000}})
    answer = with_meter.run("send-test-event", customer, "--wait", "--json")

    assert (answer.code, answer.document["visible"]) == (PENDING, False)
    assert "not in its summaries" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--dimension", "region=eu"], "it has model"),
        (["--meter", "llama_tokens"], "it has alpaca_ai_tokens"),
        (["--at", "2020-01-01T00:00:00Z"], "35 days"),
        (["--value", "1000000000001"], "value"),
    ],
)
def test_an_event_that_stripe_would_not_bill_is_refused(with_meter: CommandLine, arguments: list[str], said: str) -> None:
    answer = with_meter.run("send-test-event", with_meter.customer(), *arguments)

    assert answer.code == USAGE
    assert said in answer.err
    assert with_meter.simulator.call("GET", "/_oracle/events")["events"] == []


def test_an_event_for_nobody_or_without_a_meter_is_refused(commands: CommandLine) -> None:
    customer = commands.customer()
    assert "no meter 'alpaca_ai_tokens'" in commands.refused("send-test-event", customer)

    commands.setup()
    assert "'cus_nobody'" in commands.refused("send-test-event", "cus_nobody")
    assert commands.simulator.call("GET", "/_oracle/events")["events"] == []


# Usage


@pytest.mark.parametrize("order", ["ascending", "descending"])
@pytest.mark.parametrize("empty", ["omit", "zero"])
def test_usage_by_the_hour_is_what_was_sent_oldest_first(with_meter: CommandLine, order: str, empty: str) -> None:
    with_meter.simulator.call("POST", "/_control/config", {"assumptions": {"summary_order": order, "empty_groups": empty}})
    customer = with_meter.customer()
    now = int(time.time()) // HOUR_S * HOUR_S
    for hours, value in ((30, 1), (3, 20), (3, 300), (1, 4000)):
        send(with_meter, customer, value, now - hours * HOUR_S + 61)
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now - 200 * HOUR_S + 17))
    [usage] = with_meter.run("usage", customer, "--by", "hour", "--from", since, "--json").document["usage"]

    assert [(row["start"], row["value"]) for row in usage["rows"]] == [
        (now - 30 * HOUR_S, "1"),
        (now - 3 * HOUR_S, "320"),
        (now - 1 * HOUR_S, "4000"),
    ]
    assert (usage["total"], usage["exact"], usage["start"]) == ("4321", True, now - 200 * HOUR_S)


def test_the_total_does_not_depend_on_how_it_is_grouped(with_meter: CommandLine) -> None:
    customer = with_meter.customer()
    now = int(time.time())
    for days in range(34):
        send(with_meter, customer, 10**days % 999_983, now - days * 86_400)
    since = time.strftime("%Y-%m-%dT00:00:00Z", time.gmtime(now - 34 * 86_400))
    totals = {
        by: with_meter.run("usage", customer, "--by", by, "--from", since, "--json").document["usage"][0]["total"] for by in ("hour", "day", "total")
    }

    assert set(totals.values()) == {str(sum(10**days % 999_983 for days in range(34)))}


def test_usage_beyond_what_a_float_holds_is_said_not_to_be_exact(with_meter: CommandLine) -> None:
    customer = with_meter.customer()
    meter_event = {"event_name": "alpaca_ai_tokens", "payload": {"stripe_customer_id": customer, "value": "999999999999999"}}
    for _ in range(10):
        post_event(with_meter, meter_event)
    [usage] = with_meter.run("usage", customer, "--by", "total", "--from", "2020-01-01T00:00:00Z", "--json").document["usage"]

    assert not usage["exact"]
    assert "~" in with_meter.done("usage", customer, "--by", "total", "--from", "2020-01-01T00:00:00Z")


def test_the_table_has_bars_and_says_that_summaries_lag(with_meter: CommandLine) -> None:
    customer = with_meter.customer()
    send(with_meter, customer, 1234)
    shown = with_meter.done("usage", customer, "--from", "2020-01-01T00:00:00Z")

    assert "1,234" in shown
    assert "█" in shown
    assert "lag" in shown


def test_usage_of_nobody_on_no_meter_or_in_no_time_is_refused(with_meter: CommandLine) -> None:
    customer = with_meter.customer()
    since = ["--from", "2026-11-01T00:00:00Z"]

    assert "'cus_nobody'" in with_meter.refused("usage", "cus_nobody", *since)
    assert "it has alpaca_ai_tokens" in with_meter.refused("usage", customer, "--meter", "llama_tokens", *since)
    assert "--to is not after --from" in with_meter.refused("usage", customer, *since, "--to", "2026-11-01T00:00:00Z")
    assert "less" in with_meter.refused("usage", customer, "--by", "hour", "--from", "2001-01-01T00:00:00Z")


def test_a_stripe_that_is_away_is_told_after_bounded_attempts(commands: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def at_once(_: SystemClock, seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(SystemClock, "sleep", at_once)
    monkeypatch.setenv("TAXIMETER_STRIPE_API_BASE", "http://127.0.0.1:9")
    answer = commands.run("customer", "list")

    assert answer.code == FAILED
    assert "does not answer" in answer.err
    assert 3 <= len(waits) <= 20
