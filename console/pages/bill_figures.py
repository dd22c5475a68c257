"""What usage comes to in money."""

from collections import Counter
from collections.abc import Sequence

from billing.catalogue.price_list import PriceList
from console.answering.usage_answer import SummedRow
from console.pages.elements import Html, element, joined
from console.pages.page_frame import figure


def money(prices: PriceList | None, why_not: str, billed: str | None, by_meter: Sequence[SummedRow]) -> Html:
    """The range as if it were one billing period, at the account's prices: what was counted, and what of it was reported.

    Groups of the rows begin with the meter.
    """
    ask = element("p", "Nothing was reported yet, so nobody is billed yet.", class_="quiet")
    if billed is not None:
        command = element("code", f"taximeter stripe preview {billed}")
        ask = element("p", f"Billed at Stripe: {billed}. The next invoice, with credits and taxes: ", command, class_="quiet")
    if prices is None:
        return joined([element("p", f"Units only: {why_not}.", class_="quiet"), ask])
    counted: Counter[str] = Counter()
    told: Counter[str] = Counter()
    for row in by_meter:
        counted[str(row.groups[0])] += row.amounts.counted
        told[str(row.groups[0])] += row.amounts.told
    missing = prices.unpriced(meter for meter, units in counted.items() if units)
    figures = [
        figure(f"Bill {name}", amount.text) for name, units in (("so far", counted), ("reported", told)) for amount in prices.totals(units.items())
    ]
    return joined(
        [
            element("dl", *figures) if figures else None,
            element("p", "At the account's active prices, as if this range were one billing period.", class_="quiet"),
            element("p", f"No active price bills {', '.join(missing)}.", class_="quiet") if missing else None,
            ask,
        ]
    )
