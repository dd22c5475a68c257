"""Meter events as v2 of the API takes them: JSON, RFC 3339 timestamps, validated at once (`meter_events`) or later (the stream).

Both read an event in the same way. What is wrong with its form refuses the request; what is wrong with what it says is its `problem`, which
the synchronous endpoint answers with and the stream keeps to itself until it drops the event.
"""

from taximeter_sandbox.stripe.http.errors import ApiError, invalid, missing_parameter, refused
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.http.rfc3339 import rfc3339, unix_seconds
from taximeter_sandbox.stripe.metering.meter_events import DropReason, MeterEvent, Submission, payload_of, timestamp_problem, value_problem
from taximeter_sandbox.stripe.metering.meters import Meter, MeterCatalogue
from taximeter_sandbox.stripe.state.assumptions import Assumptions

STREAM_EVENTS_MAX = 100

# The error table of `POST /v2/billing/meter_events`: code and message.
_REFUSALS: dict[DropReason, tuple[str, str]] = {
    "archived_meter": ("archived_meter", "The meter must be Active to submit events."),
    "no_meter": ("no_meter", "There is no meter with this event name."),
    "meter_event_no_customer_defined": ("payload_no_customer_defined", "The payload does not define a customer."),
    "meter_event_value_not_found": ("payload_no_value_defined", "The payload does not define a value."),
    "meter_event_invalid_value": ("payload_invalid_value", "The value in the payload is not valid."),
    "meter_event_value_too_many_digits": ("payload_invalid_value", "The value in the payload has too many digits."),
    "timestamp_in_future": ("timestamp_in_future", "The event timestamp cannot be more than 5 minutes in the future."),
    "timestamp_too_far_in_past": ("timestamp_too_far_in_past", "The event timestamp must be within the past 35 calendar days."),
}


def read_event(parameters: Parameters, meters: MeterCatalogue, assumptions: Assumptions, now_ms: int) -> Submission:
    """One event. Raises ApiError (400) where its form is wrong."""
    event_name = parameters.text("event_name", length_max=100)
    payload = parameters.text_map("payload")
    identifier = parameters.optional_text("identifier", length_max=100)
    timestamp = _timestamp(parameters)
    parameters.finish()
    if payload is None:
        raise missing_parameter("payload")
    meter = meters.by_event_name(event_name)
    if meter is None:
        return Submission(event_name, "", identifier, "", tuple(sorted(payload.items())), timestamp, "no_meter")
    customer, value = payload.pop(meter.customer_key, ""), payload.pop(meter.value_key, "")
    problem = timestamp_problem(timestamp, now_ms) or _problem(meter, customer, value, assumptions)
    return Submission(event_name, customer, identifier, value, tuple(sorted(payload.items())), timestamp, problem)


def read_stream(parameters: Parameters, meters: MeterCatalogue, assumptions: Assumptions, now_ms: int) -> tuple[list[Submission], ApiError | None]:
    """The events of one request, and why it is refused, if it is: then the events are those before the one at fault.

    Raises ApiError (400) where the request itself is wrong.
    """
    items = parameters.optional_groups("events", count_max=STREAM_EVENTS_MAX)
    parameters.finish()
    if not items:
        raise invalid("At least one event is required.", "events", "invalid_events")
    submissions: list[Submission] = []
    for item in items:
        try:
            submissions.append(read_event(item, meters, assumptions, now_ms))
        except ApiError as error:
            return submissions, error
    return submissions, None


def _problem(meter: Meter, customer: str, value: str, assumptions: Assumptions) -> DropReason | None:
    if not meter.active:
        return "archived_meter"
    if not customer:
        return "meter_event_no_customer_defined"
    problem = value_problem(value, meter, assumptions)
    if problem is None and value.startswith("-") and meter.formula != "count" and assumptions.v2_negative_value == "reject":
        return "meter_event_invalid_value"
    return problem


def _timestamp(parameters: Parameters) -> int | None:
    text = parameters.optional_text("timestamp", length_max=100)
    if text is None:
        return None
    try:
        return unix_seconds(text)
    except ValueError:
        raise invalid(f"Invalid timestamp: {text}; it must be an RFC 3339 date-time", "timestamp", "invalid_timestamp") from None


def synchronous_refusal(problem: DropReason) -> ApiError:
    """How `POST /v2/billing/meter_events` answers an event that the stream would drop."""
    code, message = _REFUSALS[problem]
    return refused(message, outcome=code, code=code)


def v2_duplicate() -> ApiError:
    """How v2 refuses an identifier that was used within Stripe's memory."""
    message = "A meter event with a duplicate identifier has already been submitted."
    return refused(message, outcome="duplicate_identifier", code="duplicate_meter_event")


def v2_event_object(event: MeterEvent, meter: Meter | None, *, livemode: bool) -> dict[str, object]:
    """The `v2.billing.meter_event` that the API shows."""
    return {
        "object": "v2.billing.meter_event",
        "created": rfc3339(event.received_ms),
        "event_name": event.event_name,
        "identifier": event.identifier,
        "livemode": livemode,
        "payload": payload_of(event, meter),
        "timestamp": rfc3339(event.timestamp * 1000),
    }
