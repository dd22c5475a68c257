"""What Stripe's documentation leaves open, each as a switch. A test suite should pass on every reading.

The first value named is the default. Changeable at start (`--config`) and at run time (`POST /_control/config`).
"""

from dataclasses import dataclass
from typing import Literal

IdentifierScope = Literal["account", "meter", "customer"]


@dataclass(frozen=True, slots=True)
class Assumptions:
    """One field per unverified behaviour; the comment gives the readings."""

    # An identifier may be used once in the whole account / once per meter / once per customer.
    identifier_scope: IdentifierScope = "account"
    # Stripe promises "at least 24 hours": exactly that (the nasty case) / any longer time.
    identifier_memory_hours: int = 24
    # An event accepted with 200 and rejected later: its identifier stays used / may be sent again.
    identifier_burnt_by_rejection: bool = True
    # An event cancelled by an adjustment: its identifier stays used / may be sent again.
    identifier_reusable_after_cancel: bool = False
    # A timestamp out of range: answered with 400 / answered with 200 and dropped later.
    timestamp_errors: Literal["sync", "async"] = "sync"
    # A missing or malformed customer or value in the payload: answered with 400 / answered with 200 and dropped later.
    payload_errors: Literal["sync", "async"] = "sync"
    # A customer that does not exist: answered with 200 and dropped later / answered with 400.
    missing_customer: Literal["async", "sync"] = "async"
    # `code` of the 400 for an unknown or inactive meter: absent / this code.
    unknown_meter_code: str | None = None
    # A second call at once for the same customer and meter: 409 too_many_concurrent_requests / 429 lock_timeout / allowed.
    concurrency: Literal["conflict", "lock_timeout", "allowed"] = "conflict"
    # The stream, an identifier used before: the event is dropped without a word / the request is answered with 400 duplicate_meter_event.
    stream_duplicates: Literal["dropped", "refused"] = "dropped"
    # The stream, a request answered with 400 for one of its events: nothing of it is taken / the events before that one are taken.
    stream_refusals: Literal["whole", "rest"] = "whole"
    # The stream, events of one customer and meter in two requests at once: allowed / 409 too_many_concurrent_requests for the second.
    stream_concurrency: Literal["allowed", "conflict"] = "allowed"
    # A meter deactivated between an event's acceptance and its processing: the event is dropped / counts.
    archived_before_processing: Literal["dropped", "counted"] = "dropped"
    # A sample in an error report names the request's idempotency key (the reference says so) / the event's identifier.
    sample_names: Literal["request", "event"] = "request"
    # It does so as `request.identifier` (the reference) / as `request.idempotency_key` beside an empty `id` (one example).
    sample_request: Literal["identifier", "idempotency_key"] = "identifier"
    # A meter of the formula `last`, the most recent event of a period: that of the latest timestamp, then of receipt / the one received last.
    last_goes_by: Literal["timestamp", "receipt"] = "timestamp"
    # A value of zero: accepted / refused as an invalid value.
    zero_value: Literal["accept", "reject"] = "accept"
    # A value below zero by v2: an invalid value (its error table: "must be a positive integer") / accepted, as v1 does to correct usage.
    v2_negative_value: Literal["reject", "accept"] = "reject"
    # A decimal value such as 1.5: accepted (current documentation) / refused (documentation of 2025).
    decimal_value: Literal["accept", "reject"] = "accept"
    # A value with an exponent such as 1e3: refused / accepted.
    exponent_value: Literal["reject", "accept"] = "reject"
    # A 500 under an idempotency key: kept and replayed for 24 h / forgotten.
    server_errors_stored: bool = True
    # A replayed reply carries `Idempotent-Replayed: true` / does not.
    replayed_header: bool = True
    # An event exactly at the end of a summary's range: outside / inside (the documentation says both).
    summary_end: Literal["exclusive", "inclusive"] = "exclusive"
    # Summaries in a list: newest first, like other lists / oldest first.
    summary_order: Literal["descending", "ascending"] = "descending"
    # Hours or days without usage in a grouped summary: left out / listed with zero.
    empty_groups: Literal["omit", "zero"] = "omit"
    # Usage exactly at the end of a billing period: of the next period / of the one that ends.
    period_end: Literal["exclusive", "inclusive"] = "exclusive"
    # Usage since `backdate_start_date`: part of the first period / billed by an invoice of its own when the subscription is created.
    backdated_usage: Literal["first_period", "first_invoice"] = "first_period"
    # Usage of a subscription that is cancelled at once without `invoice_now`: on no invoice / billed as if with it.
    cancelled_usage: Literal["lost", "invoiced"] = "lost"
    # An amount that ends in half a cent: up / to the even cent.
    amount_rounding: Literal["half_up", "half_even"] = "half_up"
    # The tiers of one price: rounded to the cent together / each on its own.
    tier_rounding: Literal["line", "tier"] = "line"
    # The flat fee of the first tier in a period without usage: charged / not.
    flat_fee_at_zero: Literal["charged", "free"] = "charged"
    # `code` of the 400 for an adjustment that cannot be made: absent / this code.
    adjustment_error_code: str | None = None
