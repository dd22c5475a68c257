"""A sum for a meter that tells the latest value, and a value for one that adds up, are neither planned nor sent."""

from typing import Final

import pytest

from metering.formulas.meter_formulas import Aggregate
from metering.records.ledger_records import MeterEvent, ReadingTime
from metering.records.meters import Catalogue, Meter
from metering.records.tally import LatestValue, TallyRow
from reporter.planning.usage_forms import FormDiffers, check_meter_event, check_tally
from tests.support.metering_tallies import a_tally, an_adjustment

SUM, COUNT, LAST = (Meter("m", ("n",), aggregate=aggregate) for aggregate in (Aggregate.SUM, Aggregate.COUNT, Aggregate.LAST))
ROW: Final = TallyRow("cus_1", "m", (), 0, 5, 1)
VALUE: Final = LatestValue("cus_1", "m", 7, 5, 1)
SUM_EVENT: Final = MeterEvent("cus_1", "m", (), 0, 5)
VALUE_EVENT: Final = MeterEvent("cus_1", "m", (), 0, 5, reading=ReadingTime(7, 0))


@pytest.mark.parametrize("meter", [SUM, COUNT])
def test_what_adds_up_takes_sums_and_no_values(meter: Meter) -> None:
    meters = Catalogue([meter]).by_name
    check_tally(3, a_tally(rows=[ROW]), meters)
    check_meter_event(3, SUM_EVENT, meters)
    with pytest.raises(FormDiffers, match="tally 3 of partition 0 has a latest value of meter m"):
        check_tally(3, a_tally(latest=[VALUE]), meters)
    with pytest.raises(FormDiffers, match="entry 3 of the ledger has a latest value of meter m"):
        check_meter_event(3, VALUE_EVENT, meters)


def test_what_tells_the_latest_value_takes_values_and_no_sums() -> None:
    meters = Catalogue([LAST]).by_name
    check_tally(3, a_tally(latest=[VALUE]), meters)
    check_meter_event(3, VALUE_EVENT, meters)
    with pytest.raises(FormDiffers, match="tally 3 of partition 0 has a sum of meter m"):
        check_tally(3, a_tally(rows=[ROW], latest=[VALUE]), meters)
    with pytest.raises(FormDiffers, match="tally 3 of partition 0 has a sum of meter m"):
        check_tally(3, an_adjustment([ROW], offset=3, end=1), meters)
    with pytest.raises(FormDiffers, match="entry 3 of the ledger has a sum of meter m"):
        check_meter_event(3, SUM_EVENT, meters)


def test_a_meter_that_is_not_known_is_not_judged_until_it_is() -> None:
    check_tally(3, a_tally(rows=[ROW], latest=[VALUE]), {})
    check_meter_event(3, VALUE_EVENT, {})


def test_a_version_with_the_form_of_the_usage_mends_it() -> None:
    with pytest.raises(FormDiffers) as stopped:
        check_tally(3, a_tally(rows=[ROW]), Catalogue([LAST]).by_name)
    assert not stopped.value.is_mended(Catalogue([LAST]).by_name)
    assert stopped.value.is_mended(Catalogue([COUNT]).by_name)
