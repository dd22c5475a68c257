"""The checker's own reading of usage.events and of intents: as little as it needs, and nothing of the pipeline."""

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

METERS = {"tokens": ("input_tokens", "output_tokens"), "requests": ("requests",)}


class BookEntry(Protocol):
    """A line of Stripe's books."""

    @property
    def identifier(self) -> str: ...
    @property
    def customer(self) -> str: ...
    @property
    def meter(self) -> str: ...
    @property
    def value(self) -> int: ...
    @property
    def time_ms(self) -> int: ...


class RawRecord(Protocol):
    """A record as Kafka gives it."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes | None]]: ...


@dataclass(slots=True)
class RawEvent:
    """An event as it is in a record: enough to recognise it."""

    customer: str
    quantity: int
    mystery: bool
    number: tuple[str, int] | None = None  # the emitter's


def read_record(record: RawRecord) -> tuple[str, list[RawEvent], int]:
    """The kind of a record, as tallies name it; its events; and how many it claims to hold."""
    try:
        document = orjson.loads(record.value or b"")
    except orjson.JSONDecodeError:
        return "singles", [], 1
    if not isinstance(document, dict):
        return "singles", [], 1
    if "taximeter" in document:
        if not document["count"]:
            return "heartbeats", [], 0
        found = list(_columns(document)) if document["customers"] else []
        return ("batches" if found else "singles"), found, document["count"]
    data = document.get("data", document)
    usage, customer = data.get("usage", {}), data.get("customer")
    sound = customer is not None and all(type(number) is int and number >= 0 for number in usage.values()) and "surprise" not in document
    if not sound or not usage:
        return "singles", [], 1
    quantity = usage.get("input_tokens", 0) + usage.get("output_tokens", 0)
    return "singles", [RawEvent(customer, quantity or usage.get("mystery", 0), mystery=not quantity)], 1


def read_final(heartbeat: RawRecord, partition: int) -> dict[str, int]:
    """The emitter that says in this heartbeat that it has closed here, and how many events it has numbered; empty if none does."""
    document = orjson.loads(heartbeat.value or b"")
    return {document["emitter"]: document["first_seq"]} if document.get("final") and document["partition"] == partition else {}


def _columns(batch: Mapping[str, Any]) -> Iterator[RawEvent]:
    packed, count, customers = batch["taximeter"] == 2, batch["count"], batch["customers"]
    usage = {name: _unpacked(column, count) if packed else column for name, column in batch["usage"].items()}
    if packed:
        customers = [customers[place] for place in _unpacked(batch["series_customers"], batch["series"])]
    for index, series in enumerate(_unpacked(batch["at"], count) if packed else batch["at"]):
        quantity = sum(usage[name][index] for name in METERS["tokens"] if name in usage)
        yield RawEvent(customers[series], quantity, mystery=False, number=(batch["emitter"], batch["first_seq"] + index))


def _unpacked(text: str, count: int) -> list[int]:
    """A digit that says the bytes of each integer, then base64 of them, little-endian."""
    width, raw = int(text[0]), b64decode(text[1:], validate=True)
    assert len(raw) == width * count
    return [int.from_bytes(raw[start : start + width], "little") for start in range(0, len(raw), width)]


MeterLine = tuple[str, str, int, int]
"""Customer, meter, time in ms, value."""


def read_meter_events(intent: Mapping[str, Any], name: str) -> list[MeterLine]:
    """Those of one list of an intent; a list that it lacks is empty."""
    return [(intent["customers"][c], intent["meters"][m], time_ms, value) for c, m, _, time_ms, value in intent.get(name, ())]
