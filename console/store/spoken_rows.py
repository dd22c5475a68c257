"""A spoken meter event as the JSON text of its row, and back."""

from typing import Any

import orjson

from console.folding.spoken_events import SpokenEvent
from console.folding.usage_changes import SpokenPlace, UsageAmounts
from metering.folds.corrections import Fate
from metering.records.ledger_records import MeterEvent, Outcome, decode_entry
from metering.records.notes.resolution import Resolution, encode_resolution


def spoken_text(spoken: SpokenEvent) -> str:
    """As it is kept."""
    event, fate = spoken.event, spoken.fate
    about: dict[str, Any] = {
        "event": [event.customer, event.meter, event.dimensions, event.time_ms, event.value, event.linked],
        "value": spoken.value,
        "kind": spoken.kind,
        "target": spoken.target,
        "identifier": spoken.identifier,
        "outcome": fate.outcome,
        "repeated": fate.repeated,
        "reported": fate.reported,
        "resolution": None if fate.resolution is None else encode_resolution(fate.resolution).decode(),
        "shown": spoken.shown,
    }
    return orjson.dumps(about, option=orjson.OPT_PASSTHROUGH_SUBCLASS, default=_plain).decode()


def spoken_from(text: str) -> SpokenEvent:
    """What `spoken_text` made."""
    about = orjson.loads(text)
    customer, meter, dimensions, time_ms, value, linked = about["event"]
    resolution = None if about["resolution"] is None else decode_entry(about["resolution"].encode())
    assert resolution is None or isinstance(resolution, Resolution)
    outcome = None if about["outcome"] is None else Outcome(about["outcome"])
    return SpokenEvent(
        MeterEvent(customer, meter, tuple((name, text) for name, text in dimensions), time_ms, value, linked),
        about["value"],
        about["kind"],
        None if about["target"] is None else SpokenPlace(*about["target"]),
        about["identifier"],
        Fate(outcome, about["repeated"], about["reported"], resolution),
        UsageAmounts(*about["shown"]),
    )


def _plain(value: object) -> object:
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(type(value).__name__)
