"""Is usage of the form that its meter tells: sums for a meter that adds up, values for one that tells the latest? Pure.

Stripe never changes the formula of a meter. A sum sent to one that tells the latest value would take the place of it, and a value sent to one that
adds up would be billed on top. So neither is planned or sent.
"""

from collections.abc import Mapping

from metering.records.fail_closed import FailClosed
from metering.records.ledger_records import MeterEvent
from metering.records.meters import Meter
from metering.records.tally import Tally


class FormDiffers(FailClosed):
    """Usage of `meter` is a latest value (`is_latest`) and the meter adds up, or it is a sum and the meter tells the latest value."""

    def __init__(self, where: str, meter: str, *, is_latest: bool) -> None:
        form, other = ("a latest value", "adds up") if is_latest else ("a sum", "tells the latest value")
        super().__init__(
            f"{where} has {form} of meter {meter}, and the newest version of the catalogue that has this meter says that it {other}. Nothing of it is"
            " sent. taximeter verify says whether the tally is wrong, taximeter meters list whether a version is"
        )
        self.meter = meter
        self.is_latest = is_latest

    def is_mended(self, meters: Mapping[str, Meter]) -> bool:
        """Whether the meter has the form of the usage now."""
        return not _differs(self.meter, meters, is_latest=self.is_latest)


def check_tally(offset: int, tally: Tally, meters: Mapping[str, Meter]) -> None:
    """Raise FormDiffers if the tally has usage that its meter does not tell. A meter that is not known is not judged here."""
    for names, is_latest in (({row.meter for row in tally.rows}, False), ({value.meter for value in tally.latest}, True)):
        for meter in sorted(names):
            if _differs(meter, meters, is_latest=is_latest):
                raise FormDiffers(f"tally {offset} of partition {tally.partition}", meter, is_latest=is_latest)


def check_meter_event(entry: int, event: MeterEvent, meters: Mapping[str, Meter]) -> None:
    """The same of a meter event that the ledger plans at offset `entry`: its tally may have been read before the meter was known."""
    is_latest = event.reading is not None
    if _differs(event.meter, meters, is_latest=is_latest):
        raise FormDiffers(f"entry {entry} of the ledger", event.meter, is_latest=is_latest)


def _differs(meter: str, meters: Mapping[str, Meter], *, is_latest: bool) -> bool:
    known = meters.get(meter)
    return known is not None and known.formula.adds == is_latest
