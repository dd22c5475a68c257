"""An adjustment says one part of a plan, and what is none is refused."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from metering.records.adjustment import (
    ADJUSTED_QUANTITY_MAX,
    AdjustmentKind,
    PlannedParts,
    part_digest,
    partition_digest,
    plan_digest,
    planned_parts,
    split_rows,
)
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import Acceptance, EventCounts, RecordCounts, TallyRow, decode_tally, encode_tally
from tests.support.metering_tallies import a_header, a_tally, an_adjustment

LESS = TallyRow("cus_1", "tokens", (("model", "alpaca"),), 60_000, -40, -2)
MORE = TallyRow("cus_2", "tokens", (), 0, 7, 1)


def test_an_adjustment_reads_back_with_its_signs() -> None:
    tally = an_adjustment([LESS, MORE], offset=3, end=9)
    found = decode_tally(encode_tally(tally))
    assert (found.rows, found.adjustment) == ([LESS, MORE], tally.adjustment)


def test_a_reader_that_knows_of_no_adjustments_refuses_the_record() -> None:
    document = orjson.loads(encode_tally(an_adjustment([LESS], offset=3, end=9)))
    with pytest.raises(TypeError):
        RecordCounts(**document["records"])


@pytest.mark.parametrize("without", ["adjustment", "adjusted"])
def test_a_tally_that_says_half_that_it_adjusts_is_refused(without: str) -> None:
    document = orjson.loads(encode_tally(an_adjustment([LESS], offset=3, end=9)))
    del (document["records"] if without == "adjusted" else document)[without]
    with pytest.raises(RecordCorrupt, match="and not both"):
        decode_tally(orjson.dumps(document))


@pytest.mark.parametrize("row", [LESS, MORE._replace(quantity=0), MORE._replace(events=0)])
def test_a_row_that_is_not_positive_adjusts(row: TallyRow) -> None:
    with pytest.raises(RecordCorrupt, match="adjusts nothing"):
        a_tally(rows=[MORE, row])


@pytest.mark.parametrize("quantity", [0, ADJUSTED_QUANTITY_MAX + 1, -ADJUSTED_QUANTITY_MAX - 1])
def test_a_row_of_nothing_or_of_too_much_is_refused(quantity: int) -> None:
    with pytest.raises(RecordCorrupt, match="units"):
        an_adjustment([LESS._replace(quantity=quantity)], offset=3, end=9)


@pytest.mark.parametrize(
    "changes",
    [
        {"link": ChainLink(9, 10, 2), "records": RecordCounts(singles=1)},
        {"link": ChainLink(9, 9, NO_OFFSET)},
        {"events": EventCounts(counted=1)},
        {"ranges": [("e", 0, 1)]},
        {"set_aside": [(1, (0,))]},
        {"emitter_states": []},
        {"acceptance": Acceptance("why", "who", 7)},
    ],
)
def test_an_adjustment_covers_counts_and_founds_nothing(changes: dict[str, Any]) -> None:
    with pytest.raises(RecordCorrupt):
        an_adjustment([LESS], offset=3, end=9, **changes)


@pytest.mark.parametrize(
    "adjusts",
    [{"part": 1}, {"part": -1}, {"offset": 0}, {"header": None}, {"part": 1, "parts": 2}, {"ids": b"x"}, {"reason": "r" * 501}, {"by": "b" * 101}],
)
def test_a_part_that_is_none_is_refused(adjusts: dict[str, Any]) -> None:
    with pytest.raises(RecordCorrupt):
        an_adjustment([LESS], offset=3, end=9, adjusts=adjusts)


def test_an_abandoned_plan_has_no_rows_and_no_header() -> None:
    ends: dict[str, Any] = {"kind": AdjustmentKind.ABANDON, "part": 2, "parts": 2, "header": None}
    tally = an_adjustment([], offset=3, end=9, adjusts=ends)
    assert decode_tally(encode_tally(tally)).adjustment == tally.adjustment
    with pytest.raises(RecordCorrupt, match="has rows"):
        replace(tally, rows=[LESS])


def test_a_digest_is_of_the_rows_and_the_ids_and_not_of_their_order() -> None:
    assert part_digest([LESS, MORE]) == part_digest([MORE, LESS])
    others = [[LESS], [LESS, LESS, MORE], [LESS._replace(quantity=-41), MORE], [LESS._replace(dimensions=()), MORE]]
    assert len({part_digest(rows) for rows in ([LESS, MORE], *others)} | {part_digest([LESS, MORE], bytes(16))}) == 6


def test_a_header_names_the_parts_of_each_partition() -> None:
    header = a_header([LESS], [MORE], partition=5)
    assert planned_parts(header) == {5: PlannedParts(2, partition_digest([part_digest([LESS]), part_digest([MORE])]))}
    assert plan_digest(header) != plan_digest(header + " ")


@pytest.mark.parametrize("header", ["", "[]", "{}", '{"parts": 3}', '{"parts": {"x": [1, "d"]}}', '{"parts": {"1": [1]}}'])
def test_a_text_that_names_no_parts_is_no_header(header: str) -> None:
    with pytest.raises(RecordCorrupt, match="header"):
        planned_parts(header)


@pytest.mark.parametrize("quantity", [0, 1, -1, 10**18, -(10**18), 25 * 10**17, -(25 * 10**17)])
def test_rows_beyond_the_bound_are_several_with_the_same_sums(quantity: int) -> None:
    rows = split_rows([LESS._replace(quantity=quantity)])
    assert sum(row[4] for row in rows) == quantity
    assert all(0 < abs(row[4]) <= ADJUSTED_QUANTITY_MAX for row in rows)
    assert sum(row[5] for row in rows) == (-2 if quantity else 0)
