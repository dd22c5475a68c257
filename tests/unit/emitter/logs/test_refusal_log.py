"""What `emit` does not take is said by default, with the reason, seldom, and without what was in the event."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydantic
import pytest
from taximeter_emitter import Emitter
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.logs.refusal_log import RefusalLog
from taximeter_emitter.wire.errors import EventRejected, Reason

from tests.support.emitter_batches_received import batches_of, quantities
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.manual_clock import ManualClock


class Details(pydantic.BaseModel):
    cached_tokens: int | None = None


class Usage(pydantic.BaseModel):
    """As the clients of model servers give it."""

    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: Details | None = None


@dataclass
class Spent:
    n: int
    m: int | None = None


class Size(IntEnum):
    LARGE = 7


class Secretive:
    def keys(self) -> list[str]:
        raise RuntimeError("sk_live_secret")


def emit_one(usage: Any, **options: Any) -> tuple[bool, FakeKafka]:
    kafka = FakeKafka()
    with Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, linger_ms=5, **options) as emitter:
        taken = emitter.emit(customer="c", usage=usage)
    return taken, kafka


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    "quantity", [np.int64(7), np.uint8(7), np.int32(7), np.array(7), Size.LARGE, 7], ids=["int64", "uint8", "int32", "array", "enum", "int"]
)
def test_whatever_python_takes_as_an_integer_is_one(quantity: Any, caplog: pytest.LogCaptureFixture) -> None:
    taken, kafka = emit_one({"n": quantity})
    assert taken
    assert quantities(batches_of(kafka.log)) == [7]
    assert said(caplog) == []


@pytest.mark.parametrize(
    "usage",
    [
        Usage(prompt_tokens=3, completion_tokens=4),
        Usage(prompt_tokens=3, completion_tokens=4).model_dump(),
        {"prompt_tokens": np.int64(3), "completion_tokens": None},
    ],
)
def test_a_field_that_is_none_is_absent(usage: Any, caplog: pytest.LogCaptureFixture) -> None:
    taken, kafka = emit_one(usage)
    assert taken
    assert quantities(batches_of(kafka.log), "prompt_tokens") == [3]
    assert said(caplog) == []


def test_a_dataclass_is_usage() -> None:
    taken, kafka = emit_one(Spent(5))
    assert taken
    assert quantities(batches_of(kafka.log)) == [5]


@pytest.mark.parametrize(
    ("usage", "parts"),
    [
        (Usage(prompt_tokens=3, completion_tokens=4, prompt_tokens_details=Details(cached_tokens=1)), ["usage.prompt_tokens_details", "an object"]),
        ({"n": True}, ["usage.n", "a boolean"]),
        ({"n": np.bool_(True)}, ["usage.n"]),
        ({"n": np.float64(1.5)}, ["usage.n"]),
        ({"n": None}, ["missing_field", "usage"]),
        ({"n": -1}, ["negative", "usage.n"]),
        (7, ["usage", "is int"]),
        (None, ["usage", "is NoneType"]),
        (SimpleNamespace(n=1), ["usage", "is SimpleNamespace"]),
        ("n=1", ["usage", "is str"]),
        ({b"n": 1}, ["usage", "bytes"]),
    ],
)
def test_a_mistake_is_a_warning_with_its_field_and_reason(usage: Any, parts: list[str], caplog: pytest.LogCaptureFixture) -> None:
    assert not emit_one(usage)[0]
    (text,) = said(caplog)
    assert all(part in text for part in parts), text
    assert {record.name for record in caplog.records} == {"taximeter.emitter"}


@pytest.mark.parametrize(
    "change",
    [
        {"dimensions": {"model": True}},
        {"dimensions": {"model": None}},
        {"dimensions": {"model": "a\nb"}},
        {"dimensions": 7},
        {"customer": 12},
        {"event_id": 3},
        {"time": datetime(2025, 1, 1)},  # noqa: DTZ001  # that is the fault
        {"time": datetime(2100, 1, 1, tzinfo=UTC)},
        {"usage": Secretive()},
    ],
)
def test_every_other_mistake_is_said_as_well_on_one_line_and_without_what_the_error_quotes(
    change: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with Emitter(source="test", bootstrap_servers="unused:1", new_producer=FakeKafka().new_producer) as emitter:
        arguments: dict[str, Any] = {"customer": "c", "usage": {"n": 1}} | change
        assert not emitter.emit(**arguments)
    (text,) = said(caplog)
    assert text.splitlines() == [text]
    assert "secret" not in text
    assert next(iter(change)) in text or "usage" in text


def test_each_reason_is_said_once_a_minute_with_how_many_there_were(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    refusals = RefusalLog("test", clock)
    for total in range(1, 1_001):
        refusals.refused(EventRejected(Reason.NEGATIVE, "usage.n", "quantities are not negative: -1"), total)
        refusals.dropped(total, is_closed=False)
    assert len(said(caplog)) == 2
    clock.advance(60.0)
    refusals.refused(EventRejected(Reason.NEGATIVE, "usage.n", "quantities are not negative: -2"), 1_001)
    assert len(said(caplog)) == 3
    assert "1000 since" in said(caplog)[-1]


def test_a_text_is_bounded_and_a_broken_filter_of_the_host_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    refusals = RefusalLog("test", SystemClock())
    refusals.refused(EventRejected(Reason.TOO_LONG, "usage", "x" * 10_000), 1)
    assert len(said(caplog)[0]) < 500

    def broken(_record: logging.LogRecord) -> bool:
        raise RuntimeError("the host's own fault")

    logger = logging.getLogger("taximeter.emitter")
    logger.addFilter(broken)
    try:
        assert not emit_one({"n": -1})[0]
    finally:
        logger.removeFilter(broken)


def test_what_is_dropped_is_said(caplog: pytest.LogCaptureFixture) -> None:
    kafka = FakeKafka(is_away=True)
    emitter = Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, memory_bytes_max=2**20)
    while emitter.emit(customer="c", usage={"n": 1}):
        pass
    assert any("memory_bytes_max is reached" in text for text in said(caplog))
    emitter.close(0.1)
    assert not emitter.emit(customer="c", usage={"n": 1})
    assert any("the emitter is closed" in text for text in said(caplog))


@pytest.mark.parametrize("strange", [0, 1, 1.5, "x", None, {"a": 1}, -1], ids=repr)
def test_a_field_that_no_meter_sums_costs_that_field_and_not_the_event(strange: Any, caplog: pytest.LogCaptureFixture) -> None:
    kafka = FakeKafka()
    with Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, linger_ms=5, usage_fields=["n"]) as emitter:
        assert emitter.emit(customer="c", usage={"cached_tokens": strange, "n": 2})
        assert emitter.emit(customer="c", usage={"n": np.int64(3), "cached_tokens": strange})
    stats = emitter.stats()
    batches = batches_of(kafka.log)
    assert quantities(batches) == [2, 3]
    # What can be carried is, so that a later meter can sum it.
    assert sum(quantities(batches, "cached_tokens")) == (2 if strange == 1 else 0)
    assert stats.counts.rejected == {}
    assert stats.counts.unknown_usage == ({"cached_tokens": 2} if strange else {})
    assert any("cached_tokens" in text for text in said(caplog)) == bool(strange)


@pytest.mark.parametrize(
    ("usage", "is_taken"), [({"other": 0}, True), ({"other": 1}, False), ({"other": 1.5}, False), ({"other": 0, "more": 1}, False)]
)
def test_an_event_of_nothing_but_unknown_fields_is_refused_each_time_unless_all_are_zero(usage: Any, is_taken: bool) -> None:
    with Emitter(source="test", bootstrap_servers="unused:1", new_producer=FakeKafka().new_producer, usage_fields=["n"]) as emitter:
        assert emitter.emit(customer="c", usage={"other": 0})
        assert emitter.emit(customer="c", usage={"other": 0, "more": 0})
        assert [emitter.emit(customer="c", usage=usage) for _ in range(3)] == [is_taken] * 3
    assert emitter.stats().counts.rejected == ({} if is_taken else {Reason.UNKNOWN_USAGE_FIELD: 3})


def test_an_event_with_more_unknown_fields_than_an_event_may_have_keeps_the_known_ones() -> None:
    taken, kafka = emit_one({f"unknown {number}": number for number in range(40)} | {"n": 5}, usage_fields=["n"])
    assert taken
    assert quantities(batches_of(kafka.log)) == [5]


def test_a_quantity_that_is_known_and_wrong_is_refused_beside_unknown_fields(caplog: pytest.LogCaptureFixture) -> None:
    assert not emit_one({"other": 1, "n": -1}, usage_fields=["n"])[0]
    assert "usage.n" in said(caplog)[0]
