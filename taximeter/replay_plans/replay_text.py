"""A plan as text and as JSON."""

import argparse
from typing import Any, Final

from rich.table import Table

from audit.recount.left_out import LeftOut
from metering.plans.plan_header import PlanHeader
from metering.records.adjustment import AdjustmentKind, short
from taximeter.account_prices import plan_money
from taximeter.replay_plans.account_periods import AccountPeriods
from taximeter.replay_plans.plan_directory import PlanDirectory
from taximeter.replay_plans.plan_summary import CUSTOMERS_SHOWN, BillingState, PlanSummary
from taximeter.stripe_commands.running import console, shown

PLAN_SCHEMA: Final = "taximeter.plan/1"
_NOT_BILLED: Final = {
    BillingState.FINAL: "their invoices are final: Stripe takes the usage and bills nobody",
    BillingState.TOO_OLD: "Stripe takes no usage older than 35 days",
}


def described(header: PlanHeader) -> str:
    """A plan in a few words."""
    rule = header.rule
    match rule.kind:
        case AdjustmentKind.COUNT:
            what = f"count {rule.meter}"
        case AdjustmentKind.MOVE:
            what = f"move to {rule.to_customer}"
        case AdjustmentKind.REVERT:
            what = f"take back plan {short(rule.reverts)}"
        case AdjustmentKind.RESOLVE:
            what = "resolve"
        case _:
            what = "take out"
    return what if rule.into is None else f"{what}, ended periods into the current one"


async def plan_as_json(
    arguments: argparse.Namespace, header: PlanHeader, directory: PlanDirectory, summary: PlanSummary, account: AccountPeriods
) -> dict[str, Any]:
    """For `--json`."""
    counts, brought = directory.totals()
    money = await plan_money(arguments)
    return {
        "schema": PLAN_SCHEMA,
        **header_as_json(header),
        "directory": str(directory.path),
        "events": {
            "read": counts.events,
            "selected": counts.selected,
            "counted_then": counts.counted,
            "taken_out_before": counts.taken_before,
            **{why.name.lower(): counts.left_out[why] for why in LeftOut},
            "unreadable_records": counts.unreadable,
            "tallies_that_do_not_say": counts.unknown_tallies,
        },
        **summary.as_json(),
        "brought_forward": {
            "customers": len(brought.customers),
            "units": {meter: str(units) for meter, units in sorted(brought.units.items())},
        },
        "customers": [
            {
                "customer": each.customer,
                "meter": each.meter,
                "period": each.state.value,
                "period_end_s": each.end_s or None,
                "units": str(each.units),
                "billed": each.state.is_billed,
                "money": money.as_json([(each.meter, each.units)]),
            }
            for each in summary.largest()
        ],
        "periods_problem": account.problem,
        "money": money.as_json(summary.entries()),
        "money_not_billed": money.as_json(summary.entries(billed=False)),
        "seconds_to_send": round(summary.rows / account.events_per_second, 1),
    }


def header_as_json(header: PlanHeader) -> dict[str, Any]:
    """What the header says."""
    rule = header.rule
    named = {"meter": rule.meter, "to_customer": rule.to_customer, "reverts": rule.reverts, "evidence": rule.evidence}
    return {
        "plan": header.plan,
        "kind": rule.kind.value,
        **{name: text or None for name, text in named.items()},
        "selector": header.selector.as_document(),
        "planned_ms": header.planned_ms,
        "into_current_ms": None if rule.into is None else rule.into.minute_ms,
        "parts": sum(each.parts for each in header.parts.values()),
        "totals": {meter: {"units": str(each.units), "events": str(each.events), "rows": each.rows} for meter, each in header.totals.items()},
    }


async def show_plan(
    arguments: argparse.Namespace, header: PlanHeader, directory: PlanDirectory, summary: PlanSummary, account: AccountPeriods
) -> None:
    """As text."""
    counts, brought = directory.totals()
    parts = sum(each.parts for each in header.parts.values())
    partitions = f"{len(header.ranges)} partition{'s' if len(header.ranges) > 1 else ''}, offsets frozen"
    print(f"plan {short(header.plan)}  {described(header)}  ({partitions})")
    if counts.tallies:
        left = ", ".join(f"{counts.left_out[why]:,} {_plural(why)}" for why in LeftOut if counts.left_out[why])
        print(
            f"  events selected {counts.selected:,}, counted {counts.counted:,}"
            + (f"; not counted, and not in this plan: {left}" if left else "")
            + (f"; {counts.taken_before:,} were taken out by earlier plans" if counts.taken_before else "")
        )
    if counts.unknown_tallies:
        print(f"  {counts.unknown_tallies:,} tallies do not say what they left out, or by which meters they counted: nothing of them is in the plan")
    if not summary.rows:
        print("  it changes nothing")
        return
    _show_periods(summary, account)
    if brought.customers and header.rule.into is not None:
        units = ", ".join(f"{number:+,} {meter}" for meter, number in sorted(brought.units.items()))
        when = shown(header.rule.into.minute_ms // 1000)
        print(f"of it {units} of {len(brought.customers):,} customers would be billed no more: brought forward to {when}, into the current period")
    await _show_money(arguments, summary)
    minutes = summary.rows / account.events_per_second / 60
    print(f"{summary.rows:,} meter events at most, {minutes:,.1f} min at {account.events_per_second:,}/s; {parts:,} parts")


def _show_periods(summary: PlanSummary, account: AccountPeriods) -> None:
    table = Table()
    for heading in ("period", "meter", "customers", "units", "meter events", ""):
        table.add_column(heading, justify="right" if heading in {"customers", "units", "meter events"} else "left", overflow="fold")
    order = list(BillingState)
    for (state, meter), total in sorted(summary.states.items(), key=lambda entry: (order.index(entry[0][0]), entry[0][1])):
        closes = f"closes {shown(total.closes_s)}" if total.closes_s is not None else ""
        note = "NOT billed" if not state.is_billed else closes
        table.add_row(state.value, meter, f"{len(total.customers):,}", f"{total.units:+,}", f"{total.rows:,}", note)
    console().print(table)
    for state, why in _NOT_BILLED.items():
        if any(found is state for found, _ in summary.states):
            print(f"NOT billed, {state.value}: {why}; plan again with --into-current, or use invoice items or credit notes")
    if account.problem:
        print(f"Billing periods are not known: {account.problem}")


async def _show_money(arguments: argparse.Namespace, summary: PlanSummary) -> None:
    money = await plan_money(arguments)
    for each in summary.largest():
        ends = f" until {shown(each.end_s)}" if each.end_s else ""
        amounts = "; ".join(money.lines([(each.meter, each.units)])) if money.prices is not None else ""
        not_billed = "" if each.state.is_billed else "NOT billed: "
        print(f"  {each.units:+,} {each.meter} for {each.customer}, {each.state}{ends}" + (f": {not_billed}{amounts}" if amounts else ""))
    if len(summary.sums) > CUSTOMERS_SHOWN:
        print(f"  and {len(summary.sums) - CUSTOMERS_SHOWN:,} more customers, meters and periods")
    for line in money.lines(summary.entries()):
        print(f"  {line}")
    unbilled = summary.entries(billed=False)
    if unbilled and money.prices is not None:
        for line in money.lines(unbilled):
            print(f"  NOT billed: {line}")


def _plural(why: LeftOut) -> str:
    return {LeftOut.DUPLICATE: "duplicates", LeftOut.KNOWN_NUMBER: "known numbers"}.get(why, why.value)
