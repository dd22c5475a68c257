"""Whether a customer is at Stripe: what each answer means, and that no failure is an error of the command's."""

import argparse
import json
from collections.abc import Mapping
from typing import Any

import pytest
import stripe

from metering.configuration.secrets import Redactor
from taximeter.refusal_commands.stripe_lookup import CustomerState, LookedUp, look_at_meter, look_up, looked_up


class OneAnswer(stripe.HTTPClient):
    """Answers every request with this status and document."""

    name = "one answer"

    def __init__(self, status: int, document: Mapping[str, Any]) -> None:
        super().__init__()
        self.answer: tuple[bytes, int, dict[str, str]] = (json.dumps(document).encode(), status, {})

    async def request_async(self, *_: Any) -> Any:
        return self.answer


MISSING = {"error": {"type": "invalid_request_error", "code": "resource_missing", "message": "No such customer"}}
DENIED = {"error": {"type": "invalid_request_error", "message": "no permission"}}


@pytest.mark.parametrize(
    ("status", "document", "state", "words"),
    [
        (200, {"id": "cus_1", "object": "customer"}, CustomerState.EXISTS, ""),
        (200, {"id": "cus_1", "object": "customer", "deleted": True}, CustomerState.GONE, "deleted"),
        (404, MISSING, CustomerState.GONE, "no customer cus_1"),
        (403, DENIED, CustomerState.UNKNOWN, "no permission"),
        (500, {"error": {"type": "api_error", "message": "oops"}}, CustomerState.UNKNOWN, "oops"),
    ],
)
async def test_what_stripe_says_of_a_customer(status: int, document: Mapping[str, Any], state: CustomerState, words: str) -> None:
    client = stripe.StripeClient("sk_test_1", http_client=OneAnswer(status, document), max_network_retries=0)
    found, why = await looked_up(client, "cus_1", Redactor())
    assert found is state
    assert words in why


async def test_what_is_no_customer_s_id_and_what_nobody_can_ask_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    client = stripe.StripeClient("sk_test_1", http_client=OneAnswer(404, MISSING), max_network_retries=0)
    assert (await looked_up(client, "acct_1", Redactor()))[0] is CustomerState.UNKNOWN
    for name in ("STRIPE_API_KEY", "TAXIMETER_STRIPE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    file = tmp_path / "taximeter.toml"
    file.write_text("")
    found = await look_up(argparse.Namespace(config=file), {"cus_1"}, {"tokens"})
    assert "STRIPE_API_KEY" in found.doubt
    assert found.objection("cus_1", "tokens") is None


async def test_a_meter_that_is_missing_or_inactive_and_a_customer_that_is_gone_are_objections() -> None:
    found = LookedUp()
    for meter, rows in (("tokens", []), ("calls", [{"id": "mtr_1", "event_name": "calls", "status": "inactive"}])):
        document = {"object": "list", "has_more": False, "data": [{**row, "default_aggregation": {"formula": "sum"}} for row in rows]}
        client = stripe.StripeClient("sk_test_1", http_client=OneAnswer(200, document), max_network_retries=0)
        await look_at_meter(client, meter, found)
    assert "no meter 'tokens'" in (found.objection("cus_1", "tokens") or "")
    assert "inactive" in (found.objection("cus_1", "calls") or "")
    found.gone["cus_1"] = "deleted"
    assert found.objection("cus_1", "other") == "deleted"
