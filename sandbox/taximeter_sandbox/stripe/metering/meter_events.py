"""Meter events: validation of one call, and the store of everything accepted, by identifier.

An event is kept as a compact tuple; its state is one byte beside it. Nothing is forgotten, so that an identifier that
Stripe no longer remembers, accepted a second time, can be counted as what it is: usage billed twice.
"""

from collections.abc import Collection, Iterable, Iterator
from enum import IntEnum
from typing import Literal, NamedTuple, TypeAlias

from taximeter_sandbox.stripe.http.errors import ApiError, invalid, missing_parameter, refused
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.metering.meters import Meter, MeterCatalogue
from taximeter_sandbox.stripe.metering.quantities import DIGITS_MAX, EXPONENT, PLAIN, digit_count, quantity
from taximeter_sandbox.stripe.state.assumptions import Assumptions, IdentifierScope

PAST_MAX_S = 35 * 86_400
FUTURE_MAX_S = 5 * 60
HOUR_MS = 3_600_000
DIGITS_SYNC_SINCE = "2026-04-22"
DIMENSIONS_INTERNED_MAX = 100_000

Dimensions: TypeAlias = tuple[tuple[str, str], ...]
DropReason: TypeAlias = Literal[
    "meter_event_customer_not_found",
    "meter_event_no_customer_defined",
    "meter_event_value_not_found",
    "meter_event_invalid_value",
    "meter_event_value_too_many_digits",
    "timestamp_in_future",
    "timestamp_too_far_in_past",
    "archived_meter",
    "no_meter",
]


class EventState(IntEnum):
    """What became of an accepted event."""

    PENDING = 0  # accepted, not yet seen by summaries
    COUNTED = 1
    DROPPED = 2  # rejected after it was accepted
    CANCELLED = 3  # by an adjustment


class MeterEvent(NamedTuple):
    """One accepted event; `timestamp` in Unix seconds, `value` as it was sent, `dimensions` the rest of the payload.

    Without a meter of that name (only the stream takes such an event) the payload is all in `dimensions`. `request_key` is the idempotency
    key of the call that brought the event, or "".
    """

    sequence: int
    event_name: str
    customer: str
    identifier: str
    value: str
    dimensions: Dimensions
    timestamp: int
    received_ms: int
    request_key: str


class Submission(NamedTuple):
    """A validated event that has not been taken yet; `problem` is why it will be dropped once accepted."""

    event_name: str
    customer: str
    identifier: str | None
    value: str
    dimensions: Dimensions
    timestamp: int | None
    problem: DropReason | None


def read_submission(parameters: Parameters, meters: MeterCatalogue, assumptions: Assumptions, now_ms: int, api_version: str) -> Submission:
    """Validate the parameters of `POST /v1/billing/meter_events`. Raises ApiError."""
    event_name = parameters.text("event_name", length_max=100)
    payload = parameters.text_map("payload")
    identifier = parameters.optional_text("identifier", length_max=100)
    timestamp = parameters.optional_integer("timestamp")
    parameters.finish()
    if payload is None:
        raise missing_parameter("payload")
    meter = meters.by_event_name(event_name)
    if meter is None or not meter.active:
        raise no_active_meter(event_name, assumptions.unknown_meter_code)
    problem = timestamp_problem(timestamp, now_ms)
    if problem is not None and assumptions.timestamp_errors == "sync":
        raise _timestamp_error(problem)
    customer = payload.pop(meter.customer_key, "")
    value = payload.pop(meter.value_key, "")
    if not customer:
        problem = "meter_event_no_customer_defined"
        if assumptions.payload_errors == "sync":
            raise missing_parameter(f"payload[{meter.customer_key}]")
    wrong = value_problem(value, meter, assumptions)
    if wrong is not None:
        _refuse_value(wrong, value, meter, assumptions, api_version)
        problem = wrong
    return Submission(event_name, customer, identifier, value, tuple(sorted(payload.items())), timestamp, problem)


def timestamp_problem(timestamp: int | None, now_ms: int) -> DropReason | None:
    """Why an event with this timestamp (Unix seconds; None is now) is not taken."""
    if timestamp is None:
        return None
    if timestamp * 1000 < now_ms - PAST_MAX_S * 1000:
        return "timestamp_too_far_in_past"
    if timestamp * 1000 > now_ms + FUTURE_MAX_S * 1000:
        return "timestamp_in_future"
    return None


def _timestamp_error(problem: DropReason) -> ApiError:
    if problem == "timestamp_in_future":
        return invalid("The event timestamp cannot be more than 5 minutes in the future.", "timestamp", problem)
    return invalid("The event timestamp must be within the past 35 calendar days.", "timestamp", problem)


def value_problem(value: str, meter: Meter, assumptions: Assumptions) -> DropReason | None:
    """Why an event with this value is not taken; "" is no value."""
    if meter.formula == "count":
        return None
    if not value:
        return "meter_event_value_not_found"
    if not PLAIN.match(value) and not (assumptions.exponent_value == "accept" and EXPONENT.match(value)):
        return "meter_event_invalid_value"
    if digit_count(value) > DIGITS_MAX:
        return "meter_event_value_too_many_digits"
    number = quantity(value)
    if number == 0 and assumptions.zero_value == "reject":
        return "meter_event_invalid_value"
    if assumptions.decimal_value == "reject" and number != int(number):
        return "meter_event_invalid_value"
    return None


def _refuse_value(problem: DropReason, value: str, meter: Meter, assumptions: Assumptions, api_version: str) -> None:
    name = f"payload[{meter.value_key}]"
    if problem == "meter_event_value_too_many_digits":
        if api_version[:10] >= DIGITS_SYNC_SINCE:
            raise invalid(f"The value in the event payload can have at most {DIGITS_MAX} digits. Received {value[:100]}.", name, problem)
        return
    if assumptions.payload_errors == "async":
        return
    if problem == "meter_event_value_not_found":
        raise missing_parameter(name)
    raise invalid(f"Invalid value in the event payload: {value[:100]}", name, problem)


def event_object(event: MeterEvent, meter: Meter, *, livemode: bool) -> dict[str, object]:
    """The `billing.meter_event` that the API shows."""
    return {
        "object": "billing.meter_event",
        "created": event.received_ms // 1000,
        "event_name": event.event_name,
        "identifier": event.identifier,
        "livemode": livemode,
        "payload": payload_of(event, meter),
        "timestamp": event.timestamp,
    }


def payload_of(event: MeterEvent, meter: Meter | None) -> dict[str, str]:
    """The payload as it was sent."""
    payload = dict(event.dimensions)
    if meter is None:
        return payload
    if event.customer:
        payload[meter.customer_key] = event.customer
    if event.value:
        payload[meter.value_key] = event.value
    return payload


class EventStore:
    """Every accepted event in order of receipt, its state, and the latest event of each identifier."""

    def __init__(self, scope: IdentifierScope) -> None:
        self._scope: IdentifierScope = scope
        self._events: list[MeterEvent] = []
        self._states = bytearray()
        self._problems: dict[int, DropReason] = {}
        self._latest: dict[str | tuple[str, ...], int] = {}
        self._forgotten: set[int] = set()
        self._interned: dict[Dimensions, Dimensions] = {}
        self._names: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._events)

    def __getitem__(self, sequence: int) -> MeterEvent:
        return self._events[sequence]

    def __iter__(self) -> Iterator[MeterEvent]:
        return iter(self._events)

    def slice(self, start: int, count: int) -> list[MeterEvent]:
        """At most `count` events from a sequence number on."""
        return self._events[start : start + count]

    def within(self, sequences: Iterable[int], start: int, end: int, states: Collection[EventState]) -> list[MeterEvent]:
        """Of these events, those with a timestamp in [start, end) and one of these states; quick, because a month's end asks for all."""
        known, wanted = self._states, frozenset(states)
        found = map(self._events.__getitem__, sequences)
        return [event for event in found if start <= event.timestamp < end and known[event.sequence] in wanted]

    def state(self, sequence: int) -> EventState:
        """The state of an event."""
        return EventState(self._states[sequence])

    def drop_reason(self, sequence: int) -> DropReason | None:
        """Why an event was, or will be, dropped."""
        return self._problems.get(sequence)

    def set_state(self, sequence: int, state: EventState) -> None:
        """Move an event to another state."""
        self._states[sequence] = state

    def mark(self, sequence: int, problem: DropReason) -> None:
        """Note why an event will be dropped."""
        self._problems[sequence] = problem

    def forget_identifier(self, sequence: int) -> None:
        """Let the identifier of this event be used again at once."""
        self._forgotten.add(sequence)

    def duplicates(self, event_name: str, customer: str, identifier: str, now_ms: int, memory_hours: int) -> bool:
        """Whether Stripe would call an event with this identifier a duplicate."""
        sequence = self._latest.get(self._key(event_name, customer, identifier))
        if sequence is None or sequence in self._forgotten:
            return False
        return now_ms - self._events[sequence].received_ms < memory_hours * HOUR_MS

    def latest(self, event_name: str, identifier: str) -> MeterEvent | None:
        """The last event accepted for a meter under an identifier, however long ago."""
        if self._scope == "customer":  # the customer is not known here, so there is no index to ask
            found = (event for event in reversed(self._events) if event.identifier == identifier and event.event_name == event_name)
            return next(found, None)
        sequence = self._latest.get(self._key(event_name, "", identifier))
        event = None if sequence is None else self._events[sequence]
        return event if event is not None and event.event_name == event_name else None

    def append(self, event: MeterEvent) -> bool:
        """Keep an event; true when its identifier had been accepted before."""
        assert event.sequence == len(self._events), "events are numbered without gaps"
        key = self._key(event.event_name, event.customer, event.identifier)
        repeated = key in self._latest
        self._events.append(event)
        self._states.append(EventState.PENDING)
        self._latest[key] = event.sequence
        return repeated

    def change_scope(self, scope: IdentifierScope) -> None:
        """Within what an identifier must be unique, from now on and for what is already here."""
        if scope != self._scope:
            self._scope = scope
            self._latest = {self._key(event.event_name, event.customer, event.identifier): event.sequence for event in self._events}

    def _key(self, event_name: str, customer: str, identifier: str) -> str | tuple[str, ...]:
        if self._scope == "account":
            return identifier
        if self._scope == "meter":
            return (event_name, identifier)
        return (event_name, customer, identifier)

    def intern(self, dimensions: Dimensions) -> Dimensions:
        """One shared copy of equal dimensions, while there are not too many different ones."""
        if not dimensions or len(self._interned) >= DIMENSIONS_INTERNED_MAX:
            return dimensions
        return self._interned.setdefault(dimensions, dimensions)

    def intern_key(self, key: str, identifier: str) -> str:
        """One shared copy of a request's key: it is often the identifier, or that of the event before."""
        if key == identifier:
            return identifier
        before = self._events[-1].request_key if self._events else ""
        return before if key == before else key

    def intern_name(self, name: str) -> str:
        """One shared copy of an event name or customer."""
        return self._names.setdefault(name, name)


def no_active_meter(event_name: str, code: str | None) -> ApiError:
    """The refusal of an event name that no meter has, or an inactive one."""
    return refused(f'No active meter found for event name "{event_name}"', outcome="no_active_meter", code=code)


def duplicate(identifier: str) -> ApiError:
    """The refusal of an identifier that was used within Stripe's memory: no code, and the retry hint says no."""
    message = f"An event already exists with identifier {identifier}."
    return refused(message, outcome="duplicate_identifier", headers=(("Stripe-Should-Retry", "false"),))
