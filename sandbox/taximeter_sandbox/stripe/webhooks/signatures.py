"""The `Stripe-Signature` header of a delivery (docs.stripe.com/webhooks, "Verify manually")."""

import hashlib
import hmac
from collections.abc import Sequence


def signature_header(body: bytes, secrets: Sequence[str], signed_at_s: int) -> str:
    """`t=UNIX,v1=HEX` with one `v1` for each secret: two while one replaces another."""
    signed = f"{signed_at_s}.".encode() + body
    signatures = [hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest() for secret in secrets]
    return ",".join([f"t={signed_at_s}", *(f"v1={signature}" for signature in signatures)])
