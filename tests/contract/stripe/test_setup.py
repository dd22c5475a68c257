"""`taximeter stripe setup`, `taximeter stripe doctor` and the functions below them, against the simulator process."""

import argparse
import asyncio
import inspect
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe
from aiohttp import web
from stripe.params.billing import MeterCreateParams
from taximeter_emitter.retry import RetryPolicy

import billing
from billing.catalogue import apply as apply_module
from billing.catalogue.account import Account
from billing.catalogue.account_reading import read_account
from billing.catalogue.apply import Stopped, apply
from billing.catalogue.plan import plan
from billing.catalogue.pricing import Wanted, wanted_of
from billing.checkup.permissions import PERMISSIONS
from reporter.stripe.report_types import REPORT_TYPES
from taximeter.account_prices import plan_money
from taximeter.cli import main
from taximeter.exit_codes import DISCREPANCY, FAILED, INTERRUPTED, OK, PRECONDITION, USAGE
from taximeter.stripe_commands import setup
from tests.support.rate_card import CARD
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import NO_LIMITS, Target

KEY = "sk_test_contract1234"
RESTRICTED = "rk_test_contract1234"
RUN_S = 120
SLOW = {"median_ms": 5_000}

FILE = """
[[meters]]
event_name = "alpaca_ai_tokens"
display_name = "Alpaca AI tokens"
sum = ["input_tokens", "output_tokens"]

[[products]]
key = "alpaca_ai"
name = "Alpaca AI usage"

[[prices]]
key = "monthly"
product = "alpaca_ai"
meter = "alpaca_ai_tokens"
currency = "usd"
interval = "month"
amount = "0.04"
package = 1000
round = "up"

[[prices]]
key = "single"
product = "alpaca_ai"
meter = "alpaca_ai_tokens"
currency = "jpy"
interval = "day"
amount = "0.00000000004"

[[prices]]
key = "tiers"
product = "alpaca_ai"
meter = "alpaca_ai_tokens"
currency = "usd"
interval = "month"
interval_count = 3
tiers_mode = "graduated"
tiers = [{up_to = 1_000_000, amount = "0.00004"}, {up_to = "inf", amount = "0.00003", flat_amount = "1.00"}]
"""


class Installation:
    """A settings file, and the commands that read it."""

    def __init__(self, folder: Path, process: SimulatorProcess, output: pytest.CaptureFixture[str]) -> None:
        self.file = folder / "taximeter.toml"
        self.process = process
        self._output = output
        self.out = self.err = ""
        self.write()

    def write(self, *changes: tuple[str, str]) -> None:
        """FILE with texts replaced, each of which must be in it."""
        text = FILE
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        self.file.write_text(text)

    def run(self, *arguments: str) -> int:
        """`taximeter stripe ...`; what it printed is then in `out` and `err`."""
        self._output.readouterr()
        code = self.code_of(["stripe", arguments[0], "--config", str(self.file), *arguments[1:]])
        self.out, self.err = self._output.readouterr()
        assert KEY not in self.out + self.err
        return code

    def code_of(self, arguments: list[str]) -> int:
        try:
            return main(arguments)
        except SystemExit as end:
            return int(end.code or 0)

    def document(self) -> Any:
        return json.loads(self.out)

    def script(self, route: str, kind: str, times: int = 1) -> None:
        self.process.call("POST", "/_control/script", {"route": route, "kind": kind, "times": times})

    def account(self) -> Account:
        """What the simulator has, read by another client."""
        document = tomllib.loads(self.file.read_text())

        async def read() -> Account:
            http = stripe.AIOHTTPClient(timeout=15)
            client = stripe.StripeClient(KEY, base_addresses={"api": self.process.url}, http_client=http, max_network_retries=0)
            try:
                return await read_account(client, wanted_of(document))
            finally:
                await http.close_async()  # type: ignore[no-untyped-call]  # the library leaves it without annotations

        return asyncio.run(read())


@pytest.fixture
def installation(
    simulator_process: SimulatorProcess, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Installation:
    simulator_process.call("DELETE", "/_control/clock")
    simulator_process.call("DELETE", "/_control/config")
    simulator_process.call("DELETE", "/_control/script")
    simulator_process.call("POST", "/_control/config", {"limits": NO_LIMITS})
    simulator_process.call("POST", "/_oracle/reset")
    for name in [name for name in os.environ if name.startswith("TAXIMETER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STRIPE_API_KEY", KEY)
    monkeypatch.setenv("TAXIMETER_STRIPE_API_BASE", simulator_process.url)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return Installation(tmp_path, simulator_process, capsys)


def test_setup_makes_everything_once(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    assert "read back: Stripe has all that is wanted (meters of the settings file)" in installation.out
    account = installation.account()
    assert [meter.event_name for meter in account.meters] == ["alpaca_ai_tokens"]
    assert [(product.key, product.name) for product in account.products] == [("alpaca_ai", "Alpaca AI usage")]
    assert sorted(price.key for price in account.prices) == ["monthly", "single", "tiers"]
    assert installation.run("setup", "--yes") == OK
    assert "nothing to do: 5 as they are wanted" in installation.out
    assert installation.account() == account


def test_a_rate_card_makes_a_product_by_model_and_a_price_by_kind(installation: Installation) -> None:
    installation.file.write_text(f'{CARD}\n[[meters]]\nevent_name = "requests"\naggregate = "count"\n')
    assert installation.run("setup", "--yes") == OK
    account = installation.account()
    assert {meter.event_name: meter.formula for meter in account.meters} == {
        **dict.fromkeys(["alpaca-7b_input", "alpaca-7b_cached_input", "alpaca-70b_input", "alpaca-70b_cached_input"], "sum"),
        "requests": "sum",  # what is reported is a number of events, not an event
    }
    assert sorted(product.key for product in account.products) == ["alpaca-70b", "alpaca-7b"]
    assert {price.key: f"{price.terms.unit_amount:f}" for price in account.prices} == {
        "alpaca-7b_input_month": "0.00002",
        "alpaca-7b_cached_input_month": "0.000005",
        "alpaca-70b_input_month": "0.00009",
        "alpaca-70b_cached_input_month": "0",
    }
    assert installation.run("setup", "--yes") == OK
    assert "nothing to do: 11 as they are wanted" in installation.out
    assert installation.account() == account


def test_what_stripe_shows_is_what_the_file_says(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    prices = {price.key: price.terms for price in installation.account().prices}
    assert str(prices["monthly"].unit_amount) == "4"
    assert prices["monthly"].package is not None
    assert (prices["monthly"].package.units, prices["monthly"].package.round) == (1000, "up")
    assert prices["single"].unit_amount is not None
    assert f"{prices['single'].unit_amount:f}" == "0.00000000004"
    assert prices["tiers"].interval_count == 3
    assert [(tier.up_to, f"{tier.unit_amount:f}", int(tier.flat_amount)) for tier in prices["tiers"].tiers] == [
        (1_000_000, "0.004", 0),
        (None, "0.003", 100),
    ]


def test_a_plan_is_priced_at_what_stripe_has_and_goes_on_without(installation: Installation) -> None:
    asked = argparse.Namespace(config=installation.file)
    assert installation.run("setup", "--yes") == OK
    money = asyncio.run(plan_money(asked))
    # 50,000 tokens more: 2.00 by the package; by the tiers 1.50 where the first is used up, and most where this is what uses it up.
    assert money.lines([("alpaca_ai_tokens", 50_000)]) == ["0.000002 JPY by the account's prices", "1.50 to 2.99999 USD by the account's prices"]
    installation.script("prices.list", "forbidden")
    assert "could not be read" in asyncio.run(plan_money(asked)).lines([])[0]


def test_a_dry_run_changes_nothing_and_says_by_its_exit_code_whether_there_is_a_difference(installation: Installation) -> None:
    assert installation.run("setup", "--dry-run") == DISCREPANCY
    assert "+ meter alpaca_ai_tokens: create 'Alpaca AI tokens'" in installation.out
    assert installation.account() == Account()
    assert installation.run("setup", "--yes") == OK
    assert installation.run("setup", "--dry-run") == OK


def test_without_a_terminal_and_without_yes_nothing_is_changed(installation: Installation) -> None:
    assert installation.run("setup") == USAGE
    assert "add --yes" in installation.err
    assert installation.account() == Account()


class _Terminal:
    """A standard input that is a terminal with somebody who answers."""

    def __init__(self, answer: str) -> None:
        self._answer = answer

    def isatty(self) -> bool:
        return True

    def readline(self) -> str:
        return self._answer


@pytest.mark.parametrize(("answer", "code"), [("y\n", OK), ("yes\n", OK), ("\n", FAILED), ("n\n", FAILED), ("", FAILED)])
def test_on_a_terminal_it_asks(installation: Installation, monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal(answer))
    assert installation.run("setup") == code
    assert "Do this? [y/N]" in installation.err
    assert bool(installation.account().meters) == (code == OK)


def test_the_plan_and_what_came_of_it_are_told_as_json(installation: Installation) -> None:
    assert installation.run("setup", "--yes", "--json") == OK
    document = installation.document()
    assert document["result"] == "applied"
    assert [each["action"] for each in document["plan"]["actions"]] == ["create_meter", "create_product", *["create_price"] * 3]
    assert [each["id"].split("_")[0] for each in document["applied"]] == ["mtr", "prod", "price", "price", "price"]
    assert installation.run("setup", "--json") == OK
    assert installation.document()["result"] == "nothing to do"


def test_who_is_asked_sees_the_plan_also_when_the_result_is_json(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Terminal("n\n"))
    assert installation.run("setup", "--json") == FAILED
    assert "+ product alpaca_ai: create 'Alpaca AI usage'" in installation.err
    assert installation.document()["result"] == "not confirmed"


def test_a_changed_price_is_replaced_and_can_come_back(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    (first,) = [price for price in installation.account().prices if price.key == "monthly"]
    seen = {first.id}
    for amount in ("0.05", "0.04") * 5:
        installation.write(('amount = "0.04"', f'amount = "{amount}"'))
        assert installation.run("setup", "--yes") == OK
        prices = installation.account().prices
        (holder,) = [price for price in prices if price.key == "monthly"]
        assert holder.active
        assert holder.terms.unit_amount == {"0.04": 4, "0.05": 5}[amount]
        assert holder.id not in seen, "an earlier price does not come back under an old idempotency key"
        seen.add(holder.id)
        assert [price.id for price in prices if price.active and price.made_as == "monthly"] == [holder.id]


def test_names_change_in_place(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    before = installation.account()
    installation.write(("Alpaca AI tokens", "Tokens"), ("Alpaca AI usage", "Usage"))
    assert installation.run("setup", "--yes") == OK
    after = installation.account()
    assert [(meter.id, meter.display_name) for meter in after.meters] == [(before.meters[0].id, "Tokens")]
    assert [(product.id, product.name) for product in after.products] == [(before.products[0].id, "Usage")]


def test_what_is_no_longer_in_the_file_is_named_and_left(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    before = installation.account()
    installation.write(('key = "single"', 'key = "other"'))
    assert installation.run("setup", "--yes") == OK
    assert "price single" in installation.out
    assert "it is left as it is" in installation.out
    after = {price.id: price for price in installation.account().prices}
    assert all(after[price.id] == price for price in before.prices)


def test_a_meter_that_counts_otherwise_is_explained_and_nothing_is_done(installation: Installation) -> None:
    meter: MeterCreateParams = {
        "display_name": "x",
        "event_name": "alpaca_ai_tokens",
        "default_aggregation": {"formula": "count"},
        "event_time_window": "hour",
    }
    _with_client(installation, lambda client: client.v1.billing.meters.create_async(meter))
    assert installation.run("setup", "--yes") == DISCREPANCY
    assert "! meter alpaca_ai_tokens: formula is 'count'" in installation.out
    assert "! meter alpaca_ai_tokens: event_time_window is 'hour'" in installation.out
    assert "choose another event_name" in installation.out
    assert installation.account().products == ()


def test_an_inactive_meter_is_reactivated(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    (meter,) = installation.account().meters
    _with_client(installation, lambda client: client.v1.billing.meters.deactivate_async(meter.id))
    assert installation.run("setup", "--yes") == OK
    assert installation.account().meters[0].active


@pytest.mark.parametrize("route", ["meters.create", "products.create", "prices.create"])
@pytest.mark.parametrize("kind", ["rate_limited", "reset_after", "reset_before", "truncate_after", "bad_gateway_after", "server_error_before"])
def test_calls_that_fail_for_a_while_are_tried_again_and_make_nothing_twice(installation: Installation, route: str, kind: str) -> None:
    installation.script(route, kind)
    assert installation.run("setup", "--yes") == OK
    account = installation.account()
    assert (len(account.meters), len(account.products), len(account.prices)) == (1, 1, 3)


@pytest.mark.parametrize("route", ["meters.create", "products.create", "prices.create"])
def test_an_error_that_stripe_keeps_for_a_creation_that_took_place_is_seen_through(installation: Installation, route: str) -> None:
    installation.script(route, "server_error_after")
    assert installation.run("setup", "--yes") == OK
    account = installation.account()
    assert (len(account.meters), len(account.products), len(account.prices)) == (1, 1, 3)


def test_a_product_that_was_deleted_in_the_meantime_is_made_anew(installation: Installation) -> None:
    installation.write((FILE[FILE.index("[[prices]]") :], ""))
    assert installation.run("setup", "--yes") == OK
    (product,) = tomllib_products(installation)
    _with_client(installation, lambda client: client.v1.products.delete_async(product))
    assert installation.run("setup", "--yes") == OK
    (other,) = tomllib_products(installation)
    assert other != product


def tomllib_products(installation: Installation) -> list[str]:
    return [product.id for product in installation.account().products]


def test_the_first_call_that_fails_for_good_ends_the_run_and_the_next_run_continues(installation: Installation) -> None:
    installation.script("products.create", "forbidden")
    assert installation.run("setup", "--yes", "--json") == PRECONDITION
    document = installation.document()
    assert document["result"] == "stopped"
    assert [each["subject"] for each in document["applied"]] == ["meter alpaca_ai_tokens"]
    assert "stopped at + product alpaca_ai: create" in installation.err
    assert "running this again continues" in installation.err
    assert installation.account().prices == ()
    assert installation.run("setup", "--yes") == OK
    assert len(installation.account().prices) == 3


def test_two_runs_at_once_make_nothing_twice(installation: Installation) -> None:
    installation.process.call("POST", "/_control/config", {"latency": {"*": {"median_ms": 50}}})
    command = [sys.executable, "-m", "taximeter", "stripe", "setup", "--yes", "--config", str(installation.file)]
    runs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(3)]
    outputs = [run.communicate(timeout=RUN_S)[0] for run in runs]
    # A run that was overtaken between looking and doing says so, and does what is left.
    assert all(run.returncode == OK for run in runs), outputs
    account = installation.account()
    assert (len(account.meters), len(account.products), len(account.prices)) == (1, 1, 3)


def test_an_interrupted_run_says_what_is_done_and_the_next_one_continues(installation: Installation) -> None:
    installation.process.call("POST", "/_control/config", {"latency": {"products.create": SLOW, "prices.create": SLOW}})
    command = [sys.executable, "-m", "taximeter", "stripe", "setup", "--yes", "--config", str(installation.file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert any(line.startswith("done: meter") for line in run.stdout)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=RUN_S)
    assert run.returncode == INTERRUPTED
    assert "running this again continues" in err
    installation.process.call("POST", "/_control/config", {"latency": {}})
    assert installation.run("setup", "--yes") == OK
    account = installation.account()
    assert (len(account.meters), len(account.products), len(account.prices)) == (1, 1, 3)


def _overtaking(monkeypatch: pytest.MonkeyPatch, change: Callable[[stripe.StripeClient], Any]) -> None:
    """Between the look and the deed of a run, somebody else does something."""
    calls = 0

    async def reading(client: stripe.StripeClient, wanted: Wanted) -> Account:
        nonlocal calls
        calls += 1
        if calls == 2:
            await change(client)
        return await read_account(client, wanted)

    monkeypatch.setattr(setup, "read_account", reading)


def _make_the_product(client: stripe.StripeClient) -> Any:
    """What an interrupted run's call does that Stripe carries out late."""
    return client.v1.products.create_async({"name": "Alpaca AI usage", "metadata": {"taximeter_product": "alpaca_ai"}})


def test_what_an_interrupted_run_made_late_is_taken_as_it_is(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    _overtaking(monkeypatch, _make_the_product)
    assert installation.run("setup", "--yes") == OK
    assert "changed meanwhile" in installation.out
    account = installation.account()
    assert (len(account.meters), len(account.products), len(account.prices)) == (1, 1, 3)


def test_who_was_asked_about_another_plan_is_asked_again(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    _overtaking(monkeypatch, _make_the_product)
    monkeypatch.setattr("sys.stdin", _Terminal("y\n"))
    assert installation.run("setup") == FAILED
    assert "changed meanwhile; nothing was done" in installation.err
    assert installation.account().meters == ()


@pytest.mark.parametrize("kept", [True, False])
def test_an_answer_that_stripe_does_not_list_is_told_as_it_came(installation: Installation, monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """Only an answer that Stripe kept is explained by one."""
    document = {"id": "prod_gone", "object": "product", "created": int(time.time()) - (7200 if kept else 0)}

    async def answered(*_: object) -> stripe.Product:
        return stripe.Product.construct_from(document, None)

    monkeypatch.setattr(apply_module, "KEYS", RetryPolicy(base_seconds=0.001, cap_seconds=0.001, attempts_max=4))
    monkeypatch.setattr(stripe.ProductService, "create_async", answered)
    assert installation.run("setup", "--yes") == FAILED
    assert "prod_gone" in installation.err
    assert ("last 24 hours" in installation.err) == kept
    assert ("does not list it" in installation.err) != kept


def test_a_refusal_is_told_with_its_status_code_and_number(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> stripe.Product:
        body = {"error": {"type": "invalid_request_error", "code": "parameter_unknown", "message": "Received unknown parameter: colour"}}
        headers = {"request-id": "req_42"}
        make: Any = stripe.InvalidRequestError  # the library leaves it without annotations
        raise make(body["error"]["message"], "colour", "parameter_unknown", None, 400, body, headers)

    monkeypatch.setattr(stripe.ProductService, "create_async", refuse)
    assert installation.run("setup", "--yes") == FAILED
    assert "Received unknown parameter: colour (HTTP 400, parameter_unknown, parameter colour) [req_42]" in installation.err


def test_settings_that_are_wrong_are_all_told(installation: Installation) -> None:
    installation.write(('amount = "0.04"', "amount = 0.04"), ('currency = "jpy"', 'currency = "JPY"'))
    assert installation.run("setup", "--yes") == USAGE
    assert "prices[1].amount: must be a text in the main unit of usd" in installation.err
    assert "prices[2].currency" in installation.err


def test_more_than_a_page_of_others_objects_hides_nothing(installation: Installation) -> None:
    async def crowd(client: stripe.StripeClient) -> None:
        for number in range(101):
            await client.v1.products.create_async({"name": f"other {number}"})

    assert installation.run("setup", "--yes") == OK
    _with_client(installation, crowd)
    assert installation.run("setup", "--dry-run") == OK


async def test_the_example_of_the_package_works_and_can_be_repeated(simulator: Target, capsys: pytest.CaptureFixture[str]) -> None:
    doc = inspect.getdoc(billing)
    assert doc is not None
    example = textwrap.dedent("\n".join(re.findall(r"^(?: {4}.*|)$", doc[doc.index("    import stripe") :], re.MULTILINE)))
    namespace: dict[str, Any] = {}
    exec(example, namespace)
    await namespace["set_up"](simulator.client, tomllib.loads(FILE))
    assert [line[:2] for line in capsys.readouterr().out.splitlines()] == ["+ "] * 5
    await namespace["set_up"](simulator.client, tomllib.loads(FILE))
    assert capsys.readouterr().out == ""


async def test_apply_says_what_was_done_before_it_stopped(simulator: Target) -> None:
    assert simulator.simulator is not None
    wanted = wanted_of(tomllib.loads(FILE))
    todo = plan(wanted, await read_account(simulator.client, wanted))
    simulator.simulator.call("POST", "/_control/script", {"route": "prices.create", "kind": "forbidden"})
    with pytest.raises(Stopped) as caught:
        await apply(simulator.client, todo)
    assert [done.action for done in caught.value.done] == list(todo.actions[:2])
    assert caught.value.action == todo.actions[2]
    assert isinstance(caught.value.cause, stripe.PermissionError)


def test_doctor_passes_after_setup(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    assert installation.run("doctor", "--json") == OK
    states = {check["name"]: check["state"] for check in installation.document()["checks"]}
    for name in ("key", "Stripe", "clock", "API version", "meter alpaca_ai_tokens", "product alpaca_ai", "price monthly", "price tiers"):
        assert states[name] == "ok", name
    assert installation.document()["failed"] is False
    assert installation.run("doctor") == OK
    assert "0 failed" in installation.out


def test_doctor_leaves_no_trace(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK
    before = installation.account()
    assert installation.run("doctor") == OK
    assert installation.account() == before
    assert installation.process.call("GET", "/_oracle/events")["events"] == []


def test_doctor_fails_before_setup(installation: Installation) -> None:
    assert installation.run("doctor") == DISCREPANCY
    assert "taximeter stripe setup" in installation.out


def test_doctor_tells_which_permissions_a_restricted_key_lacks(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    assert installation.run("setup", "--yes") == OK
    granted = ["billing_meter_event_write", "billing_meter_read"]
    installation.process.call("POST", "/_control/config", {"keys": {"restricted": {RESTRICTED: granted}}})
    monkeypatch.setenv("STRIPE_API_KEY", RESTRICTED)
    assert installation.run("doctor", "--json") == OK
    checks = {check["name"]: check for check in installation.document()["checks"]}
    assert checks["key"]["seen"] == "a restricted key in test mode"
    for name in granted:
        assert checks[f"permission {name}"]["state"] == "ok"
    for name in ("billing_meter_write", "product_read", "product_write", "plan_read", "plan_write", "customer_read"):
        assert checks[f"permission {name}"]["state"] == "warning"
    assert checks["meter alpaca_ai_tokens"]["state"] == "ok"
    assert checks["products and prices"]["state"] == "warning"
    installation.process.call("POST", "/_control/config", {"keys": {"restricted": {RESTRICTED: ["billing_meter_read"]}}})
    assert installation.run("doctor", "--json") == DISCREPANCY
    checks = {check["name"]: check for check in installation.document()["checks"]}
    assert checks["permission billing_meter_event_write"]["state"] == "failed"


async def test_each_permission_is_tried_by_a_call_that_needs_it(simulator: Target) -> None:
    unknown = []
    for permission in PERMISSIONS:
        simulator.control.call("POST", "/_control/config", {"keys": {"restricted": {}}})
        try:
            await simulator.client.raw_request_async(permission.method, permission.path, **permission.parameters)
        except stripe.InvalidRequestError as error:
            if "Unrecognized request URL" in str(error):
                unknown.append(permission.name)
                continue
        simulator.control.call("POST", "/_control/config", {"keys": {"restricted": {RESTRICTED: []}}})
        with pytest.raises(stripe.PermissionError, match=f"'rak_{permission.name}'"):
            await simulator.client.raw_request_async(permission.method, permission.path, **permission.parameters, api_key=RESTRICTED)
    assert len(unknown) < len(PERMISSIONS) / 2, unknown


def test_doctor_says_once_that_stripe_cannot_be_reached(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIMETER_STRIPE_API_BASE", "http://127.0.0.1:9")
    assert installation.run("doctor", "--json") == DISCREPANCY
    assert [(check["name"], check["state"]) for check in installation.document()["checks"]] == [("key", "ok"), ("Stripe", "failed")]


def test_doctor_says_that_stripe_does_not_take_the_key(installation: Installation) -> None:
    installation.process.call("POST", "/_control/config", {"keys": {"revoked": [KEY]}})
    assert installation.run("doctor", "--json") == DISCREPANCY
    assert [check["name"] for check in installation.document()["checks"]] == ["key", "Stripe"]


def test_doctor_knocks_at_the_webhook_endpoint_and_looks_for_destinations(installation: Installation) -> None:
    assert installation.run("setup", "--yes") == OK

    async def examine() -> None:
        async def refuse(_: web.Request) -> web.Response:
            return web.Response(status=400)

        app = web.Application()
        app.router.add_post("/webhooks/stripe", refuse)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks/stripe"
            assert await asyncio.to_thread(installation.run, "doctor", "--json", "--webhook-url", url) == DISCREPANCY
            states = {check["name"]: check["state"] for check in installation.document()["checks"]}
            assert (states["webhook endpoint"], states["thin events"], states["snapshot events"]) == ("ok", "failed", "warning")
            await asyncio.to_thread(_with_client, installation, lambda client: _destinations(client, url))
            assert await asyncio.to_thread(installation.run, "doctor", "--json", "--webhook-url", url) == OK
            states = {check["name"]: check["state"] for check in installation.document()["checks"]}
            assert (states["webhook endpoint"], states["thin events"], states["snapshot events"]) == ("ok", "ok", "ok")
        finally:
            await runner.cleanup()

    asyncio.run(examine())


async def _destinations(client: stripe.StripeClient, url: str) -> None:
    await client.v1.webhook_endpoints.create_async({"url": url, "enabled_events": ["*"]})
    await client.v2.core.event_destinations.create_async(
        {
            "name": "reports",
            "type": "webhook_endpoint",
            "event_payload": "thin",
            "enabled_events": list(REPORT_TYPES),
            "webhook_endpoint": {"url": url},
        }
    )


def _with_client(installation: Installation, act: Callable[[stripe.StripeClient], Any]) -> None:
    async def run() -> None:
        http = stripe.AIOHTTPClient(timeout=15, connector=aiohttp.TCPConnector(limit=4))
        try:
            await act(stripe.StripeClient(KEY, base_addresses={"api": installation.process.url}, http_client=http, max_network_retries=0))
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]  # the library leaves it without annotations

    asyncio.run(run())
