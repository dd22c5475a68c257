"""Signatures of any body with any secrets."""

import stripe
from hypothesis import given
from hypothesis import strategies as st
from taximeter_sandbox.stripe.webhooks.signatures import signature_header

from metering.configuration.secrets import Secret
from metering.stripe.signatures import verify_signature

SECRETS = st.lists(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8).map("whsec_".__add__), min_size=1, max_size=3, unique=True)


@given(text=st.text(st.characters(exclude_categories=["Cs"])), secrets=SECRETS, signed_at_s=st.integers(1, 4_000_000_000))
def test_each_secret_alone_is_enough_to_check_a_body(text: str, secrets: list[str], signed_at_s: int) -> None:
    body = text.encode()
    header = signature_header(body, secrets, signed_at_s)
    for secret in secrets:
        assert stripe.WebhookSignature.verify_header(body, header, secret)
        verify_signature(body, header, [Secret(secret)], signed_at_s)
