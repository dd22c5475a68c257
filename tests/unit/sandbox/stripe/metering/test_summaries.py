import pytest
from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.metering.meters import Meter
from taximeter_sandbox.stripe.metering.summaries import read_query, summarise
from taximeter_sandbox.stripe.state.assumptions import Assumptions

from tests.support.stripe_account import NOW_S, add_customer, add_meter, form, make_account, send

HOUR = 3600
START = NOW_S // 86_400 * 86_400


def filled(formula: str, assumptions: Assumptions | None = None) -> tuple[Account, Meter]:
    account = make_account(assumptions=assumptions)
    meter = add_meter(account, **{"default_aggregation[formula]": formula})
    add_customer(account)
    for offset, value in ((0, "1"), (HOUR - 1, "2"), (HOUR, "4"), (-3 * HOUR, "8"), (-3 * HOUR + 5, "16")):
        send(account, timestamp=str(START + offset), **{"payload[value]": value})
    return account, meter


def rows(account: Account, meter: Meter, start: int, end: int, grouping: str = "") -> list[tuple[int, int, float]]:
    fields = {"customer": "cus_1", "start_time": str(start), "end_time": str(end)}
    if grouping:
        fields["value_grouping_window"] = grouping
    summaries = summarise(meter, read_query(form(**fields)), account.books.visible(("tokens", "cus_1")), account.assumptions)
    found = []
    for row in summaries:
        first, last, value = row["start_time"], row["end_time"], row["aggregated_value"]
        assert isinstance(first, int)
        assert isinstance(last, int)
        assert isinstance(value, float)
        found.append((first, last, value))
    return found


@pytest.mark.parametrize(("formula", "value"), [("sum", 31.0), ("count", 5.0), ("last", 4.0)])
def test_without_grouping_there_is_one_row_by_the_meters_formula(formula: str, value: float) -> None:
    account, meter = filled(formula)
    assert rows(account, meter, START - 4 * HOUR, START + 2 * HOUR) == [(START - 4 * HOUR, START + 2 * HOUR, value)]


def test_the_last_value_is_that_of_the_latest_timestamp_or_the_one_received_last() -> None:
    account, meter = filled("last")
    send(account, timestamp=str(START + HOUR), **{"payload[value]": "0"})  # as late as the latest, and received after it
    send(account, timestamp=str(START + 5), **{"payload[value]": "32"})
    assert rows(account, meter, START - 4 * HOUR, START + 2 * HOUR)[0][2] == 0.0
    assert rows(account, meter, START, START + HOUR)[0][2] == 2.0
    account.assume(Assumptions(last_goes_by="receipt"))
    assert rows(account, meter, START - 4 * HOUR, START + 2 * HOUR)[0][2] == 32.0


def test_without_usage_there_is_one_row_of_zero() -> None:
    account, meter = filled("sum")
    assert rows(account, meter, START - 600, START - 60) == [(START - 600, START - 60, 0.0)]


def test_the_start_is_inside_and_the_end_is_outside_or_as_assumed() -> None:
    account, meter = filled("sum")
    assert rows(account, meter, START, START + HOUR)[0][2] == 3.0
    account.assume(Assumptions(summary_end="inclusive"))
    assert rows(account, meter, START, START + HOUR)[0][2] == 7.0
    assert rows(account, meter, START, START + HOUR, "hour") == [(START, START + HOUR, 7.0)]


def test_hours_are_grouped_newest_first_and_empty_ones_left_out() -> None:
    account, meter = filled("sum")
    expected = [(START + HOUR, START + 2 * HOUR, 4.0), (START, START + HOUR, 3.0), (START - 3 * HOUR, START - 2 * HOUR, 24.0)]
    assert rows(account, meter, START - 4 * HOUR, START + 2 * HOUR, "hour") == expected


def test_the_other_readings_list_every_hour_oldest_first() -> None:
    account, meter = filled("sum", Assumptions(empty_groups="zero", summary_order="ascending"))
    assert [row[2] for row in rows(account, meter, START - 4 * HOUR, START + 2 * HOUR, "hour")] == [0.0, 24.0, 0.0, 0.0, 3.0, 4.0]


def test_days_are_utc_days() -> None:
    account, meter = filled("sum")
    assert [row[2] for row in rows(account, meter, START - 86_400, START + 86_400, "day")] == [7.0, 24.0]


@pytest.mark.parametrize(
    ("start", "end", "grouping", "param"),
    [
        (START + 1, START + 60, "", "start_time"),
        (START, START + 61, "", "end_time"),
        (START + 60, START + HOUR, "hour", "start_time"),
        (START, START + HOUR, "day", "end_time"),
        (START, START, "", "end_time"),
        (START, START + 86_400, "week", "value_grouping_window"),
        (0, START, "hour", "end_time"),
    ],
)
def test_unaligned_or_senseless_ranges_are_refused(start: int, end: int, grouping: str, param: str) -> None:
    account, meter = filled("sum")
    with pytest.raises(ApiError) as caught:
        rows(account, meter, start, end, grouping)
    assert (caught.value.status, caught.value.param) == (400, param)
