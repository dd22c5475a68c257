import pytest
from taximeter_emitter.wire.errors import EventRejected, Reason

from aggregator.importing.columns import ColumnMapping, ColumnsWrong, document_of, parse_mapping
from aggregator.importing.source_entries import MappedLines


def test_a_mapping_is_read() -> None:
    found = parse_mapping(["account=customer", "when=time_utc", "a=b=usage.tokens", "m=dimensions.model"])
    assert found.pairs == (("account", "customer"), ("when", "time_utc"), ("a=b", "usage.tokens"), ("m", "dimensions.model"))
    assert found.not_read(["account", "level", "when"]) == ["level"]


def test_everything_that_is_wrong_with_a_mapping_is_said_at_once() -> None:
    with pytest.raises(ColumnsWrong) as wrong:
        parse_mapping(["tokens", "a=tokens", "b=customer", "b=id", "c=customer"])
    assert len(wrong.value.problems) == 4
    with pytest.raises(ColumnsWrong) as wrong:
        parse_mapping(["a=id"])
    assert [text.split(",")[0] for text in wrong.value.problems] == [
        "no column is the customer: --column NAME=customer",
        "exactly one column must be the time of the event",
        "no column is a quantity: --column NAME=usage.NAME",
    ]


def test_without_a_mapping_columns_are_called_like_fields() -> None:
    columns = ["customer", "time", "usage.tokens", "dimensions.model"]
    assert ColumnMapping().fields_of(columns) == {name: name for name in columns}
    with pytest.raises(ColumnsWrong) as wrong:
        ColumnMapping().fields_of([*columns, "level", "level"])
    assert any("'level' is there 2 times" in text for text in wrong.value.problems)
    assert any("'level' is no field of an event" in text for text in wrong.value.problems)


def test_a_column_that_is_not_there_is_named() -> None:
    mapping = parse_mapping(["account=customer", "when=time", "n=usage.tokens"])
    with pytest.raises(ColumnsWrong, match="no column 'when'"):
        mapping.fields_of(["account", "n"])


def test_cells_of_text_become_integers_and_empty_cells_are_absent() -> None:
    fields = {"c": "customer", "t": "time_s", "n": "usage.tokens", "k": "usage.cached", "m": "dimensions.model"}
    row = {"c": "cus_1", "t": "1700000000", "n": " 12 ", "k": "", "m": "alpaca"}
    assert document_of(row, fields) == {
        "usage": {"tokens": 12},
        "customer": "cus_1",
        "time": 1_700_000_000_000,
        "dimensions": {"model": "alpaca"},
    }


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("1.5", Reason.NOT_AN_INTEGER),
        ("1e3", Reason.NOT_AN_INTEGER),
        ("many", Reason.NOT_AN_INTEGER),
        ("-1", Reason.NEGATIVE),
        (1.5, Reason.NOT_AN_INTEGER),
    ],
)
def test_a_quantity_that_is_none_is_refused_by_name(cell: object, reason: Reason) -> None:
    lines = MappedLines({"c": "customer", "t": "time_ms", "n": "usage.tokens"}, "")
    with pytest.raises(EventRejected) as rejected:
        lines.read({"c": "cus_1", "t": "1700000000000", "n": cell})
    assert (rejected.value.reason, rejected.value.field) == (reason, "usage.tokens")


@pytest.mark.parametrize(
    ("field", "cell", "time_ms"),
    [
        ("time", "2026-11-22T10:00:00Z", 1_795_341_600_000),
        ("time", "2026-11-22T11:00:00+01:00", 1_795_341_600_000),
        ("time_utc", "2026-11-22 10:00:00", 1_795_341_600_000),
        ("time_s", "1795341600", 1_795_341_600_000),
        ("time_ms", 1_795_341_600_000, 1_795_341_600_000),
    ],
)
def test_times_are_read(field: str, cell: object, time_ms: int) -> None:
    lines = MappedLines({"c": "customer", "t": field, "n": "usage.tokens"}, "")
    assert lines.read({"c": "cus_1", "t": cell, "n": "1"}).time_ms == time_ms


@pytest.mark.parametrize(("field", "cell"), [("time", "2026-11-22 10:00"), ("time_s", "soon"), ("time_s", -5), ("time_ms", 10**18), ("time", "")])
def test_a_time_that_is_none_is_refused_by_name(field: str, cell: object) -> None:
    lines = MappedLines({"c": "customer", "t": field, "n": "usage.tokens"}, "")
    with pytest.raises(EventRejected) as rejected:
        lines.read({"c": "cus_1", "t": cell, "n": "1"})
    assert rejected.value.field.startswith("time")
