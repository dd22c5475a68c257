"""The signature header, checked by the official library and by the receiving side."""

import stripe
from taximeter_sandbox.stripe.webhooks.signatures import signature_header


def test_the_library_signs_in_the_same_way() -> None:
    body = '{"id": "evt_1"}'
    assert signature_header(body.encode(), ["whsec_1"], 1_800_000_000) == stripe.WebhookSignature.generate_signature_header(
        body, "whsec_1", timestamp=1_800_000_000
    )
