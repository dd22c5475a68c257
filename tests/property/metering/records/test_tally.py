"""Any tally reads back as it was written."""

from hypothesis import given

from metering.records.tally import Tally, decode_tally, encode_tally
from tests.support.records import adjustments, tallies


@given(tallies() | adjustments())
def test_a_tally_reads_back_as_it_was_written(tally: Tally) -> None:
    assert decode_tally(encode_tally(tally)) == tally
