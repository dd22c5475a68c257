"""A link: which Stripe customer is billed for a customer, from now on. A record of usage.customers. Pure."""

from dataclasses import dataclass
from typing import Final

import orjson
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import check_text
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX

from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.marked_records import begins_with, text, whole

LINK_FORMAT: Final = "customer-link/1"
STRIPE_CUSTOMER_CHARS_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class CustomerLink:
    """`stripe_customer` is billed for `customer`; "": nobody is. `at_ms`: when it was written, Unix ms."""

    customer: str
    stripe_customer: str
    reason: str
    by: str
    at_ms: int


def encode_link(link: CustomerLink) -> bytes:
    """The value of its record."""
    return orjson.dumps(
        {
            "format": LINK_FORMAT,
            "customer": link.customer,
            "stripe_customer": link.stripe_customer,
            "reason": link.reason,
            "by": link.by,
            "at": link.at_ms,
        }
    )


def decode_link(value: bytes | None) -> CustomerLink | None:
    """What a record of usage.customers says. None if it is foreign, or not what Taximeter writes: it counts for no reader.

    Raises RecordCorrupt for a format of a later release: what it says must not be passed over.
    """
    if not begins_with(value, ("customer-link/",)):
        return None
    try:
        document = orjson.loads(value or b"")
        if document["format"] != LINK_FORMAT:
            raise RecordCorrupt(f"unknown format {document['format']!r}; this version reads {LINK_FORMAT}: use the release that wrote it")
        stripe_customer = text(document["stripe_customer"])
        if link_problem(stripe_customer) is not None:
            return None
        return CustomerLink(
            check_text(document["customer"], "customer", CUSTOMER_CHARS_MAX),
            stripe_customer,
            text(document["reason"]),
            text(document["by"]),
            whole(document["at"]),
        )
    except (EventRejected, KeyError, TypeError, ValueError):
        return None


def link_problem(stripe_customer: str) -> str | None:
    """Why this cannot be the id of a Stripe customer; None if it can, or is "" for none."""
    if not stripe_customer:
        return None
    if len(stripe_customer) > STRIPE_CUSTOMER_CHARS_MAX or not (stripe_customer.isascii() and stripe_customer.replace("_", "").isalnum()):
        return f"{stripe_customer[:STRIPE_CUSTOMER_CHARS_MAX]!r} is no id of a Stripe customer"
    return None
