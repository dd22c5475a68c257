"""Targets: `simulator` for what only a simulator can be made to do, `any_stripe` for both it and the sandbox."""

import os
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import stripe

from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS, Target, client_of


@pytest.fixture(scope="session")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path_factory.mktemp("stripe"))
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
async def http_client() -> AsyncIterator[stripe.HTTPClient]:
    client = stripe.AIOHTTPClient(timeout=15, connector=aiohttp.TCPConnector(limit=0))
    yield client
    await client.close_async()  # type: ignore[no-untyped-call]  # the library leaves it without annotations


@pytest.fixture
def simulator(simulator_process: SimulatorProcess, http_client: stripe.HTTPClient) -> Target:
    """A simulator as good as new, without rate limits."""
    simulator_process.call("DELETE", "/_control/clock")
    simulator_process.call("DELETE", "/_control/config")
    simulator_process.call("POST", "/_control/config", {"limits": NO_LIMITS})
    simulator_process.call("POST", "/_oracle/reset")
    return Target(client_of(simulator_process.url, http_client), KEY, 2.0, simulator_process)


@pytest.fixture(params=["simulator", "sandbox"])
async def any_stripe(request: pytest.FixtureRequest, http_client: stripe.HTTPClient) -> AsyncIterator[Target]:
    """The simulator, and the sandbox when STRIPE_TEST_KEY holds a test key."""
    if request.param == "simulator":
        yield request.getfixturevalue("simulator")
        return
    key = os.environ.get("STRIPE_TEST_KEY", "")
    if not key.startswith(("sk_test_", "rk_test_")):
        pytest.skip("STRIPE_TEST_KEY holds no test key")
    target = Target(stripe.StripeClient(key, http_client=http_client, max_network_retries=3), key, 180.0)
    yield target
    await target.tidy()
