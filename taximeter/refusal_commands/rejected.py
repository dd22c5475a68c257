"""`taximeter rejected`: what Stripe refused, lost or may not have."""

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

from rich.table import Table

from audit.refusal_answers.answer_fold import AnsweredReport
from audit.refusal_answers.answer_reading import answered_reports
from audit.refused_usage import PARKED_CODE, MendState, RefusedEvent
from metering.kafka.clients import KafkaSettings
from metering.records.ledger_records import NO_LINK_CODE, Rejection
from taximeter.before_writing import told
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, OK, USAGE
from taximeter.refusal_commands.refused_selection import read_refusals, selected, selection_problems
from taximeter.stripe_commands.running import console, print_json, shown

EVENTS_SHOWN: Final = 50
LEFT: Final = frozenset({MendState.OPEN, MendState.UNDECIDED})
REJECTED_SCHEMA: Final = "taximeter.rejected/1"


def list_all(arguments: argparse.Namespace) -> int:
    """Meter event by meter event, and what is left to do.

    Exit code 2 when something is.
    """
    kafka = kafka_settings(arguments)
    if told(selection_problems(kafka, arguments)):
        return USAGE
    return run_on_logs(_list(arguments, kafka))


async def _list(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    refusals = await read_refusals(kafka, arguments)
    events = [each for found in refusals for each in selected(found.events, arguments) if not arguments.open or each.state in LEFT]
    selected_reports = [each for found in refusals for each in found.reports if _selects(arguments, each)]
    reports = [each for each in await answered_reports(kafka, selected_reports) if each.left]
    if arguments.json:
        print_json(as_json(events, reports))
    else:
        _show(events, reports)
    left_out = sum(found.left_out for found in refusals)
    if left_out:
        print(f"taximeter: {left_out:,} more were refused than are remembered: give a later --from", file=sys.stderr)
    return DISCREPANCY if any(each.state in LEFT for each in events) or reports else OK


def _selects(arguments: argparse.Namespace, report: Rejection) -> bool:
    """A report that names nobody is of no customer."""
    fits = not arguments.customer and (not arguments.code or report.code in arguments.code)
    return fits and (not arguments.meter or report.meter in {"", *arguments.meter})


def as_json(events: Sequence[RefusedEvent], reports: Sequence[AnsweredReport]) -> dict[str, Any]:
    """For `--json`: quantities as strings."""
    return {
        "schema": REJECTED_SCHEMA,
        "meter_events": [
            {
                "identifier": each.target.identifier,
                "customer": each.target.event.customer,
                "meter": each.target.event.meter,
                "time_ms": each.target.event.time_ms,
                "value": str(each.target.event.value),
                "code": each.code,
                "message": each.message,
                "refused_at_ms": each.at_ms,
                "state": each.state.value,
                "correction": None if each.target.standing is None else each.target.standing.correction.identifier(),
            }
            for each in events
        ],
        "unnamed": [
            {
                "report": each.report.event_id,
                "code": each.report.code,
                "meter": each.report.meter,
                "meter_events": each.left,
                "at_ms": each.report.at_ms,
            }
            for each in reports
        ],
    }


def _show(events: Sequence[RefusedEvent], reports: Sequence[AnsweredReport]) -> None:
    out = console()
    if not events and not reports:
        out.print("Stripe refused nothing that is selected, and nothing is in doubt.")
        return
    out.print(_by_code(events, reports))
    if events:
        out.print(_listed(events[-EVENTS_SHOWN:]))
    if len(events) > EVENTS_SHOWN:
        out.print(f"These are the last {EVENTS_SHOWN} of {len(events):,}; --json has all.")


def _by_code(events: Sequence[RefusedEvent], reports: Sequence[AnsweredReport]) -> Table:
    table = Table()
    for heading in ("code", "meter", "customers", "named", "unnamed", "units", "mended", "in doubt", "next"):
        table.add_column(heading, justify="left" if heading in {"code", "meter", "next"} else "right", overflow="fold")
    groups: defaultdict[tuple[str, str], list[RefusedEvent]] = defaultdict(list)
    unnamed: Counter[tuple[str, str]] = Counter()
    for event in events:
        groups[event.code, event.target.event.meter].append(event)
    for each in reports:
        unnamed[each.report.code, each.report.meter] += each.left
    for key in sorted({*groups, *unnamed}):
        found = groups.get(key, [])
        states = Counter(each.state for each in found)
        units = sum(each.target.event.units for each in found)
        mended = len(found) - states[MendState.OPEN] - states[MendState.UNDECIDED]
        numbers = (len({each.target.event.customer for each in found}), len(found), unnamed[key], units, mended, states[MendState.UNDECIDED])
        table.add_row(*key, *(f"{number:,}" for number in numbers), next_command(key[0], states, unnamed[key]))
    return table


def next_command(code: str, states: Counter[MendState], unnamed: int) -> str:
    """What is left to do about those of one code."""
    if unnamed:
        return "taximeter reconcile --all --plan DIR"
    if states[MendState.UNDECIDED] or (code == PARKED_CODE and states[MendState.OPEN]):
        return f"taximeter correct --resend --code {code} --plan"
    if states[MendState.OPEN]:
        first = "taximeter customers link; then " if code == NO_LINK_CODE else ""
        other = " (or --to-customer ID)" if "customer" in code else ""
        return f"{first}taximeter correct --resend --code {code} --plan{other}"
    return "nothing"


def _listed(events: Sequence[RefusedEvent]) -> Table:
    table = Table()
    for heading in ("identifier", "customer", "meter", "units", "refused", "code", "state"):
        table.add_column(heading, justify="right" if heading == "units" else "left", overflow="fold")
    for each in events:
        event = each.target.event
        row = (each.target.identifier, event.customer, event.meter, f"{event.value:,}", shown(each.at_ms // 1000), each.code)
        table.add_row(*row, each.state.value.replace("_", " "))
    return table
