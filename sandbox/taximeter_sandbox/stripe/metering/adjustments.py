"""Adjustments: cancelling one event within 24 hours of its receipt. Answered as pending, done after the processing lag."""

from dataclasses import dataclass
from typing import Literal

from taximeter_sandbox.stripe.http.errors import ApiError, refused
from taximeter_sandbox.stripe.http.parameters import Parameters

CANCEL_WITHIN_MS = 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A cancellation of the event with number `sequence`."""

    event_name: str
    identifier: str
    sequence: int
    status: Literal["pending", "complete"]


def read_cancellation(parameters: Parameters) -> tuple[str, str]:
    """Event name and identifier from the parameters of `POST /v1/billing/meter_event_adjustments`. Raises ApiError."""
    event_name = parameters.text("event_name", length_max=100)
    parameters.choice("type", ("cancel",))
    cancel = parameters.group("cancel")
    identifier = cancel.text("identifier", length_max=100)
    cancel.finish()
    parameters.finish()
    return event_name, identifier


def not_cancellable(message: str, code: str | None) -> ApiError:
    """400: there is no such event, it is cancelled already, or its 24 hours have passed."""
    return refused(message, outcome="invalid_cancel_configuration", code=code, param="cancel[identifier]")


def adjustment_object(adjustment: Adjustment, *, livemode: bool) -> dict[str, object]:
    """The `billing.meter_event_adjustment` that the API shows."""
    return {
        "object": "billing.meter_event_adjustment",
        "cancel": {"identifier": adjustment.identifier},
        "event_name": adjustment.event_name,
        "livemode": livemode,
        "status": adjustment.status,
        "type": "cancel",
    }
