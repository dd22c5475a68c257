"""Every `taximeter stripe ...` against stripe-mock: no request that it calls malformed, and no crash on Stripe's own fixtures."""

from pathlib import Path

import aiohttp
import pytest
from taximeter_emitter.retry import RetryPolicy
from taximeter_sandbox.signup_page.server import STAND_IN_METHODS, DemoPage, Offer
from taximeter_sandbox.signup_page.visits import Visit

from billing.catalogue import apply
from billing.selling.prices import find_price
from metering.configuration.secrets import Secret
from metering.stripe.client import StripeHttp, make_client
from taximeter.command import CommandGroup
from taximeter.command_table import STRIPE_COMMANDS
from taximeter.exit_codes import DISCREPANCY, FAILED, OK
from tests.support.stripe_mock_command_line import KEY, CommandLine, command_line
from tests.support.stripe_mock_expectations import malformed
from tests.support.stripe_mock_fixtures import EVENT_NAME, LOOKUP_KEY
from tests.support.stripe_mock_process import MockProcess
from tests.support.stripe_mock_recording import Exchange, record

URLS = ("--success-url", "https://alpaca.example/thanks", "--cancel-url", "https://alpaca.example/prices")
METERED = {
    "customer create": ("--name", "Acme", "--email", "acme@example.com", "--key", "acme", "--metadata", "team=models"),
    "customer list": ("--email", "acme@example.com"),
    "customer show": ("cus_1",),
    "subscribe": ("cus_1", "--again", "--anchor", "month-start", "--backdate", "2026-11-01T00:00:00Z", "--show-client-secret"),
    "checkout": ("--customer", "cus_1", *URLS),
    "send-test-event": ("cus_1", "--dimension", "model=alpaca-2"),
    "usage": ("cus_1", "--by", "hour", "--from", "2026-11-01T00:00:00Z", "--to", "2026-11-02T00:00:00Z"),
    "preview": ("cus_1",),
}
"""Those that must end well when the account has a metered price."""

OTHERS = {
    "setup": "test_setup_*",
    "doctor": "test_doctor",
    "listen": "test_listen",
    "demo-page": "test_the_demo_page",
    "errors": "reads Kafka and calls nothing at Stripe",
}


@pytest.fixture
def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    return record(monkeypatch)


@pytest.fixture
def plain(plain_mock: MockProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(plain_mock.url, tmp_path, monkeypatch, capsys)


@pytest.fixture
def commands(metered_mock: MockProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return command_line(metered_mock.url, tmp_path, monkeypatch, capsys)


def test_every_command_is_run_here_or_named_with_the_reason() -> None:
    names = [
        f"{command.name} {inner.name}" if isinstance(command, CommandGroup) else command.name
        for command in STRIPE_COMMANDS
        for inner in (command.commands if isinstance(command, CommandGroup) else (command,))
    ]
    assert sorted(names) == sorted([*METERED, *OTHERS])


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", METERED)
def test_a_command_does_what_it_says(commands: CommandLine, exchanges: list[Exchange], name: str, as_json: bool) -> None:
    answer = commands.run(*name.split(), *METERED[name], *(["--json"] if as_json else []))

    assert malformed(exchanges) == []
    assert answer.code == OK, answer.err
    assert exchanges


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", METERED)
def test_stripes_own_fixtures_make_no_command_crash(plain: CommandLine, exchanges: list[Exchange], name: str, as_json: bool) -> None:
    answer = plain.run(*name.split(), *METERED[name], *(["--json"] if as_json else []))

    assert malformed(exchanges) == []
    assert answer.code in {OK, FAILED}
    assert answer.code == OK or answer.err.startswith("taximeter: ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("preview", "--subscription", "sub_1"),
        ("usage", "cus_1"),
        ("usage", "cus_1", "--by", "total", "--meter", EVENT_NAME),
        ("subscribe", "cus_1", "--price", LOOKUP_KEY, "--again", "--anchor", "minute"),
        ("subscribe", "cus_1", "--price", "price_1"),
        ("checkout", "--price", "price_1", *URLS),
        ("send-test-event", "cus_1", "--value", "25", "--json"),
        ("customer", "create", "--name", "Acme"),
        ("setup", "--dry-run", "--json"),
    ],
)
def test_other_options_make_no_malformed_request(commands: CommandLine, exchanges: list[Exchange], arguments: tuple[str, ...]) -> None:
    answer = commands.run(*arguments)

    assert malformed(exchanges) == []
    assert answer.code in {OK, DISCREPANCY, FAILED}


def test_setup_finds_what_is_there(commands: CommandLine, exchanges: list[Exchange]) -> None:
    """The fixture's price has another product than the one that has the key, so a new one is planned."""
    assert commands.run("setup", "--dry-run").code == DISCREPANCY
    assert malformed(exchanges) == []


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("plain", "Stripe answered that it made the product prod_"),
        ("commands", "all was carried out, and yet Stripe shows a difference"),
    ],
)
def test_setup_says_that_stripe_does_not_keep_what_it_made(
    request: pytest.FixtureRequest, exchanges: list[Exchange], monkeypatch: pytest.MonkeyPatch, which: str, said: str
) -> None:
    """stripe-mock keeps nothing, and says that it made everything."""
    monkeypatch.setattr(apply, "KEYS", RetryPolicy(base_seconds=0.01, cap_seconds=0.01, attempts_max=4))
    commands: CommandLine = request.getfixturevalue(which)
    answer = commands.run("setup", "--yes")

    assert malformed(exchanges) == []
    assert answer.code == FAILED
    assert said in answer.err
    assert "last 24 hours" not in answer.err


def test_doctor(commands: CommandLine, exchanges: list[Exchange]) -> None:
    answer = commands.run("doctor", "--webhook-url", "http://127.0.0.1:9/webhooks/stripe")

    assert malformed(exchanges, probes=True) == []
    assert answer.code == DISCREPANCY
    assert "cannot be determined" not in answer.out


def test_listen(commands: CommandLine, exchanges: list[Exchange]) -> None:
    answer = commands.run_until(lambda: bool(exchanges), "listen", "--port", "0", "--events", "invoice.paid")

    assert malformed(exchanges) == []
    assert answer.code == OK, answer.err
    assert [exchange.method for exchange in exchanges] == ["POST", "GET"]


def test_listen_without_a_signing_secret_says_so(plain: CommandLine, exchanges: list[Exchange]) -> None:
    """The document does not promise the secret."""
    answer = plain.run("listen", "--port", "0")

    assert malformed(exchanges) == []
    assert answer.code == FAILED
    assert "signing secret" in answer.err


def test_listen_to_thin_events_ends_at_a_path_that_is_unknown_here(commands: CommandLine, exchanges: list[Exchange]) -> None:
    answer = commands.run("listen", "--port", "0", "--thin")

    assert malformed(exchanges) == []
    assert answer.code == FAILED


async def test_the_demo_page(metered_mock: MockProcess, exchanges: list[Exchange]) -> None:
    http = StripeHttp(connections=2, timeout_s=10)
    client = make_client(http, api_key=Secret(KEY), api_base=metered_mock.url)
    try:
        price = await find_price(client, LOOKUP_KEY)
        served = DemoPage(client, Offer(price, None))
        listener, address = await served.start(0)
        try:
            async with aiohttp.ClientSession(base_url=address, headers={"Origin": address}) as page:
                assert (await page.get("/")).status == 200
                signed_up = await page.post("/sign-up", json={"name": "Acme", "email": "acme@example.com"})
                # The fixture's subscription has the price already.
                assert signed_up.status == 409, await signed_up.text()
                visit = served._visits.add(Visit("cus_1", "sub_1", "seti_1"))
                paid = await page.post("/stand-in", json={"visit": visit, "card": next(iter(STAND_IN_METHODS))})
                assert paid.status == 200, await paid.text()
                assert (await page.get("/complete", params={"visit": visit})).status == 200
        finally:
            await listener.stop()
    finally:
        await http.close_async()
    assert malformed(exchanges) == []
