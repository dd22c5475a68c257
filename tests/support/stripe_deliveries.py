"""A delivery that ended."""

from taximeter_sandbox.stripe.webhooks.deliveries import AttemptRecord, Delivery


def ended(delivery: Delivery, next_ms: int | None) -> AttemptRecord:
    return AttemptRecord(delivery.number, delivery.event_id, "x", delivery.destination_id, delivery.attempts + 1, 0, 500, None, next_ms)
