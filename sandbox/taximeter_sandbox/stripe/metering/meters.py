"""Meters: what is counted and how. Everything but the display name is immutable; an event name belongs to one meter forever."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, cast

from taximeter_sandbox.stripe.http.errors import invalid, no_such, refused
from taximeter_sandbox.stripe.http.parameters import Parameters

Formula = Literal["sum", "count", "last"]
EventWindow = Literal["hour", "day"]
WINDOW_SECONDS: dict[EventWindow, int] = {"hour": 3600, "day": 86_400}


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter; times in Unix seconds."""

    id: str
    event_name: str
    display_name: str
    formula: Formula
    customer_key: str
    value_key: str
    event_time_window: EventWindow | None
    livemode: bool
    created: int
    updated: int
    deactivated_at: int | None

    @property
    def active(self) -> bool:
        """Whether events are taken."""
        return self.deactivated_at is None


@dataclass(frozen=True, slots=True)
class MeterDraft:
    """The validated parameters of a create call."""

    event_name: str
    display_name: str
    formula: Formula
    customer_key: str
    value_key: str
    event_time_window: EventWindow | None


def read_draft(parameters: Parameters) -> MeterDraft:
    """Validate the parameters of `POST /v1/billing/meters`. Raises ApiError."""
    aggregation = parameters.group("default_aggregation")
    formula = aggregation.choice("formula", ("count", "last", "sum"))
    aggregation.finish()
    customer_key = "stripe_customer_id"
    mapping = parameters.optional_group("customer_mapping")
    if mapping is not None:
        customer_key = mapping.text("event_payload_key", length_max=100)
        mapping.choice("type", ("by_id",))
        mapping.finish()
    value_key = "value"
    settings = parameters.optional_group("value_settings")
    if settings is not None:
        value_key = settings.text("event_payload_key", length_max=100)
        settings.finish()
    draft = MeterDraft(
        event_name=parameters.text("event_name", length_max=100),
        display_name=parameters.text("display_name", length_max=250),
        formula=cast("Formula", formula),
        customer_key=customer_key,
        value_key=value_key,
        event_time_window=cast("EventWindow | None", parameters.optional_choice("event_time_window", ("day", "hour"))),
    )
    parameters.finish()
    if customer_key == value_key:
        raise invalid("The customer mapping and the value settings cannot use the same event payload key.", "value_settings[event_payload_key]")
    return draft


def meter_object(meter: Meter) -> dict[str, object]:
    """The `billing.meter` that the API shows."""
    return {
        "id": meter.id,
        "object": "billing.meter",
        "created": meter.created,
        "customer_mapping": {"event_payload_key": meter.customer_key, "type": "by_id"},
        "default_aggregation": {"formula": meter.formula},
        "display_name": meter.display_name,
        "event_name": meter.event_name,
        "event_time_window": meter.event_time_window,
        "livemode": meter.livemode,
        "status": "active" if meter.active else "inactive",
        "status_transitions": {"deactivated_at": meter.deactivated_at},
        "updated": meter.updated,
        "value_settings": {"event_payload_key": meter.value_key},
    }


class MeterCatalogue:
    """All meters, by id and by event name, in order of creation."""

    def __init__(self) -> None:
        self._by_id: dict[str, Meter] = {}
        self._id_by_event_name: dict[str, str] = {}

    def __iter__(self) -> Iterator[Meter]:
        return iter(self._by_id.values())

    def get(self, meter_id: str) -> Meter:
        """Raises ApiError (404) when there is none."""
        meter = self._by_id.get(meter_id)
        if meter is None:
            raise no_such("billing meter", meter_id)
        return meter

    def by_event_name(self, event_name: str) -> Meter | None:
        """The meter that owns an event name, active or not."""
        meter_id = self._id_by_event_name.get(event_name)
        return None if meter_id is None else self._by_id[meter_id]

    def add(self, meter: Meter) -> None:
        """Raises ApiError (400) when the event name is taken."""
        if meter.event_name in self._id_by_event_name:
            raise refused(f"A meter with event_name {meter.event_name} already exists.", outcome="event_name_taken", param="event_name")
        self._by_id[meter.id] = meter
        self._id_by_event_name[meter.event_name] = meter.id

    def update(self, meter: Meter) -> None:
        """Put a new version of a known meter in place."""
        self._by_id[meter.id] = meter


def renamed(meter: Meter, display_name: str, now_s: int) -> Meter:
    """The meter with another display name."""
    return replace(meter, display_name=display_name, updated=now_s)


def deactivated(meter: Meter, now_s: int) -> Meter:
    """Raises ApiError (400) when it is inactive already."""
    if not meter.active:
        raise refused("This meter is already inactive.", outcome="meter_inactive")
    return replace(meter, deactivated_at=now_s, updated=now_s)


def reactivated(meter: Meter, now_s: int) -> Meter:
    """Raises ApiError (400) when it is active already."""
    if meter.active:
        raise refused("This meter is already active.", outcome="meter_active")
    return replace(meter, deactivated_at=None, updated=now_s)
