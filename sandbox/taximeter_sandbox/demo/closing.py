"""The last table: what the load says it sent, beside what each stage of the pipeline and Stripe's books hold, and the word EXACT or not."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
from rich.console import Console
from rich.table import Table

from audit.verification.report import MeterTotals, Report
from audit.verification.verdict import verdict_of
from taximeter_sandbox.demo.books import ExpectedBooks
from taximeter_sandbox.demo.stripe_side import StripeBooks

CUSTOMERS_SHOWN: Final = 10
SHOWN_SECONDS_MAX: Final = 30.0
EXPECTED_TERMS: Final = frozenset({"set_aside", "lost_by_emitters"})

Sums = Mapping[str, tuple[int, int]]
"""By meter: units counted, and reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterComparison:
    """One meter. Events as the journals of the load give them, then units: expected by the journals, and held by each stage."""

    meter: str
    emitted: int
    refused: int
    accepted: int
    duplicates: int
    dead_lettered: int
    counted_events: int
    tallied_events: int
    expected: int
    counted: int
    reported: int
    in_stripe: int
    customers_that_differ: Sequence[str]

    @property
    def difference(self) -> int:
        """Units in Stripe's books less those expected."""
        return self.in_stripe - self.expected

    @property
    def is_exact(self) -> bool:
        """Whether every stage holds exactly what was emitted, and Stripe so for each customer."""
        equal = self.expected == self.counted == self.reported == self.in_stripe
        return equal and self.counted_events == self.tallied_events and not self.customers_that_differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Everything that the demo shows at its end. `problems`: sentences about what is not as it must be, beside the meters' numbers."""

    meters: Sequence[MeterComparison]
    problems: Sequence[str]
    facts: Mapping[str, str]

    @property
    def is_exact(self) -> bool:
        """Whether the word may be said."""
        return not self.problems and all(meter.is_exact for meter in self.meters)


def compare(expected: ExpectedBooks, report: Report, stripe: StripeBooks) -> list[MeterComparison]:
    """One comparison a meter."""
    return [_compare_meter(name, expected, report.meters.get(name, MeterTotals()), stripe) for name in expected.meters]


def _compare_meter(name: str, expected: ExpectedBooks, totals: MeterTotals, stripe: StripeBooks) -> MeterComparison:
    line, in_stripe = expected.meters[name], stripe.by_customer(name)
    differ = sorted(customer for customer in line.by_customer.keys() | in_stripe.keys() if line.by_customer[customer] != in_stripe[customer])
    return MeterComparison(
        meter=name,
        emitted=line.emitted,
        refused=line.refused,
        accepted=line.accepted,
        duplicates=line.duplicates,
        dead_lettered=line.dead_lettered,
        counted_events=line.counted,
        tallied_events=totals.events,
        expected=line.units,
        counted=totals.counted,
        reported=totals.reported,
        in_stripe=sum(in_stripe.values()),
        customers_that_differ=differ,
    )


def log_problems(expected: ExpectedBooks, report: Report) -> list[str]:
    """What the journals and the verification of the log say against exactness."""
    found = [*expected.surprises, *report.problems.shown]
    hidden = expected.surprise_count + report.problems.count - len(found)
    if hidden:
        found.append(f"and {hidden} more of these")
    totals, events = expected.totals, report.events
    # How many events are set aside, or lost by their emitters, is compared with the journals.
    if any(term.name not in EXPECTED_TERMS for term in verdict_of(report).all_terms):
        found.append(f"the verification of the log says {verdict_of(report).text}")
    if events["counted"] != totals.counted:
        found.append(f"{events['counted']:,} events are counted, the journals say {totals.counted:,}")
    if not 0 <= events["dead_lettered"] - totals.dead_lettered <= totals.dead_lettered_again:
        more = f", or up to {totals.dead_lettered_again:,} more" if totals.dead_lettered_again else ""
        found.append(f"{events['dead_lettered']:,} events are dead-lettered, the journals say {totals.dead_lettered:,}{more}")
    if events["duplicates"] < totals.duplicates:
        found.append(f"{events['duplicates']:,} events were recognised as duplicates, the journals sent {totals.duplicates:,}")
    return found


def show(outcome: Outcome, console: Console) -> None:
    """Print the table, the facts and the verdict."""
    table = Table(title="What was emitted, and what Stripe will bill", title_justify="left", title_style="bold")
    table.add_column("")
    for meter in outcome.meters:
        table.add_column(meter.meter, justify="right")
    sections: Sequence[Sequence[tuple[str, Sequence[int]]]] = (
        (
            ("events emitted (journals)", [meter.emitted for meter in outcome.meters]),
            ("  refused", [meter.refused for meter in outcome.meters]),
            ("  accepted", [meter.accepted for meter in outcome.meters]),
            ("    duplicates", [meter.duplicates for meter in outcome.meters]),
            ("    dead-lettered", [meter.dead_lettered for meter in outcome.meters]),
            ("    to be counted", [meter.counted_events for meter in outcome.meters]),
            ("events counted (tallies)", [meter.tallied_events for meter in outcome.meters]),
        ),
        (
            ("units to be billed (journals)", [meter.expected for meter in outcome.meters]),
            ("units counted (tallies)", [meter.counted for meter in outcome.meters]),
            ("units reported (ledger)", [meter.reported for meter in outcome.meters]),
            ("units in Stripe's books", [meter.in_stripe for meter in outcome.meters]),
        ),
        (
            ("difference", [meter.difference for meter in outcome.meters]),
            ("customers that differ", [len(meter.customers_that_differ) for meter in outcome.meters]),
        ),
    )
    for section in sections:
        for title, values in section:
            table.add_row(title, *(f"{value:,}" for value in values))
        table.add_section()
    console.print(table)
    for name, fact in outcome.facts.items():
        console.print(f"{name}: {fact}", highlight=False)
    for problem in outcome.problems:
        console.print(f"- {problem}", style="red", highlight=False, markup=False)
    for meter in outcome.meters:
        if meter.customers_that_differ:
            shown = ", ".join(meter.customers_that_differ[:CUSTOMERS_SHOWN])
            console.print(f"- {meter.meter} differs for {len(meter.customers_that_differ)} customers: {shown}", style="red", highlight=False)
    verdict = "EXACT" if outcome.is_exact else "NOT EXACT"
    console.print(verdict, style="bold green" if outcome.is_exact else "bold red")


async def shown_by_console(url: str, wanted: Sums) -> Sums:
    """What the console says at `url`, as soon as it is what is wanted, or else after SHOWN_SECONDS_MAX. Raises aiohttp.ClientError."""
    ends = time.monotonic() + SHOWN_SECONDS_MAX
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10.0)) as session:
        while True:
            async with session.get(f"{url}/v1/usage", params={"group_by": "meter"}, raise_for_status=True) as answer:
                rows = (await answer.json())["rows"]
            found = {row["meter"]: (int(row["units"]), int(row["reported"])) for row in rows}
            if found == wanted or time.monotonic() > ends:
                return found
            await asyncio.sleep(0.2)
