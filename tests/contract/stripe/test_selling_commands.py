"""`taximeter stripe subscribe`, `checkout`, `preview` and `usage` of a billing period, through real HTTP."""

import re
import stat
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from taximeter.exit_codes import OK, PRECONDITION, USAGE
from tests.support.alpaca import SETTINGS
from tests.support.stripe_command_line import CommandLine, command_line, sync_client
from tests.support.stripe_simulator_process import SimulatorProcess

PRICE = "alpaca_ai_tokens_monthly"
SECOND_PRICE = """
[[prices]]
key = "alpaca_ai_tokens_jpy"
product = "alpaca_ai"
meter = "alpaca_ai_tokens"
currency = "jpy"
interval = "month"
amount = "3"
"""
SECRET = re.compile(r"seti_\w+_secret_\w+")


@pytest.fixture
def commands(simulator_process: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    line = command_line(simulator_process, tmp_path, monkeypatch, capsys)
    line.setup()
    return line


def with_two_prices(commands: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "taximeter.toml").write_text(SETTINGS + SECOND_PRICE, encoding="utf-8")
    commands.setup()


def subscribed(commands: CommandLine, customer: str, *arguments: str) -> Any:
    answer = commands.run("subscribe", customer, "--json", *arguments)
    assert answer.code == OK, answer.err
    return answer.document


# Subscribe


def test_a_subscription_bills_the_price_of_the_settings_and_waits_for_payment_details(commands: CommandLine) -> None:
    customer = commands.customer()
    made = subscribed(commands, customer)
    at_stripe = sync_client(commands).v1.subscriptions.retrieve(made["id"])

    assert made["customer"] == at_stripe.customer == customer
    assert [item["lookup_key"] for item in made["items"]] == [PRICE]
    assert made["current_period_start"] == at_stripe.items.data[0].current_period_start
    assert made["current_period_end"] == at_stripe.items.data[0].current_period_end
    assert made["pending_setup_intent"]["status"] == "requires_payment_method"
    assert at_stripe.payment_settings is not None
    assert at_stripe.payment_settings.save_default_payment_method == "on_subscription"


def test_the_client_secret_is_shown_only_to_who_asks(commands: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    silent = commands.run("subscribe", commands.customer())
    as_json = commands.run("subscribe", commands.customer(), "--json")
    to_file = commands.run("subscribe", commands.customer(), "--client-secret-file", str(file))
    aloud = commands.run("subscribe", commands.customer(), "--show-client-secret")
    both = commands.run("subscribe", commands.customer(), "--show-client-secret", "--json")

    assert [answer.code for answer in (silent, as_json, to_file, aloud, both)] == [OK] * 5
    for answer in (silent, as_json, to_file):
        assert not SECRET.search(answer.out + answer.err)
    for answer in (aloud, both):
        assert SECRET.search(answer.out)
        assert not SECRET.search(answer.err)
    assert file.read_text(encoding="utf-8").startswith("seti_")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_exists_is_not_written_over_and_nothing_is_made(commands: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("mine", encoding="utf-8")
    customer = commands.customer()
    answer = commands.run("subscribe", customer, "--client-secret-file", str(file))

    assert (answer.code, file.read_text(encoding="utf-8")) == (USAGE, "mine")
    assert sync_client(commands).v1.subscriptions.list({"customer": customer}).data == []


def test_a_second_subscription_to_the_price_is_refused_and_the_first_one_named(commands: CommandLine) -> None:
    customer = commands.customer()
    first = subscribed(commands, customer)

    assert first["id"] in commands.refused("subscribe", customer)
    assert subscribed(commands, customer, "--again")["id"] != first["id"]


def test_who_cancelled_can_subscribe_again(commands: CommandLine) -> None:
    customer = commands.customer()
    first = subscribed(commands, customer)
    sync_client(commands).v1.subscriptions.cancel(first["id"])

    assert subscribed(commands, customer)["id"] != first["id"]


@pytest.mark.parametrize("fault", ["reset_after", "reset_before", "rate_limited", "bad_gateway_after", "truncate_after"])
def test_a_subscription_is_made_once_although_the_first_answer_is_lost(commands: CommandLine, fault: str) -> None:
    customer = commands.customer()
    commands.script("subscriptions.create", fault)
    made = subscribed(commands, customer)

    assert [each.id for each in sync_client(commands).v1.subscriptions.list({"customer": customer}).data] == [made["id"]]


def test_a_period_can_end_with_the_month(commands: CommandLine) -> None:
    made = subscribed(commands, commands.customer(), "--anchor", "month-start")
    end = datetime.fromtimestamp(made["current_period_end"], UTC)

    assert (end.day, end.hour, end.minute, end.second) == (1, 0, 0, 0)
    assert 0 < made["current_period_end"] - made["current_period_start"] <= 31 * 86_400


def test_a_period_can_end_on_a_full_minute(commands: CommandLine) -> None:
    made = subscribed(commands, commands.customer(), "--anchor", "minute")

    assert made["current_period_end"] % 60 == 0
    assert 27 * 86_400 < made["current_period_end"] - made["current_period_start"] <= 31 * 86_400


def test_a_backdated_subscription_begins_in_the_past(commands: CommandLine) -> None:
    start = int(time.time()) // 60 * 60 - 86_400
    made = subscribed(commands, commands.customer(), "--backdate", datetime.fromtimestamp(start, UTC).isoformat(), "--anchor", "minute")

    assert made["current_period_start"] == start
    assert made["current_period_end"] % 60 == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--price", "llama"], f"it has {PRICE}"),
        (["--price", "price_unknown"], f"it has {PRICE}"),
        (["--price", PRICE, "--price", PRICE], "twice"),
        (["--anchor", "2020-01-01T00:00:00Z"], "future"),
        (["--backdate", "2099-01-01T00:00:00Z"], "past"),
        (["--anchor", "tomorrow"], "not a time"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(commands: CommandLine, arguments: list[str], said: str) -> None:
    customer = commands.customer()

    assert said in commands.refused("subscribe", customer, *arguments)
    assert sync_client(commands).v1.subscriptions.list({"customer": customer}).data == []


def test_nobody_is_not_subscribed(commands: CommandLine) -> None:
    assert "'cus_nobody'" in commands.refused("subscribe", "cus_nobody")


def test_of_several_prices_one_must_be_named(commands: CommandLine, tmp_path: Path) -> None:
    with_two_prices(commands, tmp_path)
    customer = commands.customer()
    answer = commands.run("subscribe", customer)

    assert answer.code == USAGE
    assert f"{PRICE}, alpaca_ai_tokens_jpy" in answer.err
    assert subscribed(commands, customer, "--price", "alpaca_ai_tokens_jpy")["items"][0]["lookup_key"] == "alpaca_ai_tokens_jpy"


def test_without_any_price_in_the_settings_one_must_be_named(commands: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "taximeter.toml").write_text(SETTINGS.partition("[[products]]")[0], encoding="utf-8")

    assert commands.run("subscribe", commands.customer()).code == PRECONDITION


# Checkout


def test_a_checkout_session_has_an_address_at_stripe(commands: CommandLine) -> None:
    customer = commands.customer()
    urls = ["--success-url", "https://shop.example/ok?s={CHECKOUT_SESSION_ID}", "--cancel-url", "https://shop.example/no"]
    made = commands.run("checkout", "--customer", customer, *urls, "--json").document
    session = sync_client(commands).v1.checkout.sessions.retrieve(made["id"])

    assert made["url"] == session.url
    assert (session.mode, session.customer, session.status) == ("subscription", customer, "open")
    assert commands.done("checkout", *urls).startswith("http")


def test_a_checkout_session_that_leads_nowhere_is_refused(commands: CommandLine) -> None:
    good = "https://shop.example/"

    assert "success URL" in commands.refused("checkout", "--success-url", "javascript:alert(1)", "--cancel-url", good)
    assert "cancel URL" in commands.refused("checkout", "--success-url", good, "--cancel-url", "shop")
    assert "'cus_nobody'" in commands.refused("checkout", "--customer", "cus_nobody", "--success-url", good, "--cancel-url", good)


# Preview


def test_the_preview_is_what_the_usage_so_far_costs(commands: CommandLine) -> None:
    customer = commands.customer()
    made = subscribed(commands, customer, "--anchor", "month-start")
    commands.done("send-test-event", customer, "--value", "12345")
    [invoice] = commands.run("preview", customer, "--json").document["invoices"]

    # 12,345 tokens are 13 packages of 1,000 that are begun, at 4 cents.
    assert (invoice["total"], invoice["currency"], invoice["subscription"]) == (52, "usd", made["id"])
    [line] = invoice["lines"]
    assert (line["quantity"], line["amount"], line["unit_amount"], line["package"]) == ("12345", 52, "4", 1000)
    assert line["period_end"] == invoice["period_end"] == made["current_period_end"]
    shown = commands.done("preview", "--subscription", made["id"])
    assert "0.52" in shown
    assert "12,345" in shown
    assert "becomes final" in shown


def test_amounts_of_a_currency_without_decimals_are_shown_without(commands: CommandLine, tmp_path: Path) -> None:
    with_two_prices(commands, tmp_path)
    customer = commands.customer()
    subscribed(commands, customer, "--price", "alpaca_ai_tokens_jpy")
    commands.done("send-test-event", customer, "--value", "7")

    assert commands.run("preview", customer, "--json").document["invoices"][0]["total"] == 21
    assert ": 21 JPY so far" in commands.done("preview", customer)


def test_there_is_no_preview_of_what_does_not_run(commands: CommandLine) -> None:
    customer = commands.customer()

    assert "no running subscription" in commands.refused("preview", customer)
    assert "sub_none" in commands.refused("preview", "--subscription", "sub_none")
    assert "'cus_nobody'" in commands.refused("preview", "cus_nobody")
    assert commands.run("preview").code == USAGE


# Usage of a billing period


def test_usage_is_of_the_billing_period_unless_told_otherwise(commands: CommandLine) -> None:
    customer = commands.customer()
    commands.done("send-test-event", customer, "--value", "1", "--at", datetime.fromtimestamp(int(time.time()) - 3 * 86_400, UTC).isoformat())
    assert commands.run("usage", customer, "--json").document["usage"][0]["total"] == "1"

    made = subscribed(commands, customer)
    commands.done("send-test-event", customer, "--value", "20")
    [usage] = commands.run("usage", customer, "--by", "total", "--json").document["usage"]

    assert usage["start"] == made["current_period_start"] // 60 * 60
    assert usage["total"] == "20"
