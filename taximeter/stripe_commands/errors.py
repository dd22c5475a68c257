"""`taximeter stripe errors`: show what Stripe accepted and refused later.

With each code it says what to do about it.
"""

import argparse
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rich.table import Table
from taximeter_emitter.wire.limits import HOUR_MS

from audit.refusal_answers.answer_reading import answered_reports
from audit.refusal_answers.refusal_suspects import unnamed_reports
from audit.rejections import RejectionReader, TracedRejection, with_answers
from metering.kafka.clients import KafkaSettings
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, OK
from taximeter.stripe_commands.running import console, print_json, shown

SAMPLES_SHOWN: Final = 50
RECONCILE_BEFORE_MS: Final = 24 * HOUR_MS

_AGAIN: Final = 'then send these meter events again: taximeter correct IDENTIFIER --resend --reason "..."'
ADVICE: Final[Mapping[str, str]] = {
    "meter_event_customer_not_found": f"The customer is not in this account and mode: create it, or correct the id at the source; {_AGAIN}.",
    "meter_event_no_customer_defined": f"The payload lacks the meter's customer key: make customer_key of [[meters]] the meter's own; {_AGAIN}.",
    "archived_meter": f"The meter is deactivated: reactivate it in Stripe; {_AGAIN}.",
    "no_meter": f"No meter has this event name: make it (taximeter stripe setup), or correct event_name of [[meters]]; {_AGAIN}.",
    "meter_event_invalid_value": "Stripe does not take the value: compare value_key of [[meters]] with the meter, then bill it by an invoice item.",
    "meter_event_value_not_found": f"The payload lacks the meter's value key: make value_key of [[meters]] the meter's own; {_AGAIN}.",
    "meter_event_value_too_many_digits": "The value has more digits than Stripe takes: report more often, and bill this one by an invoice item.",
    "meter_event_dimension_count_too_high": f"More dimensions than the meter takes: leave some out of [[meters]]; {_AGAIN}.",
    "missing_dimension_payload_keys": f"The meter wants dimensions that are not sent: add them to [[meters]] or take them from the meter; {_AGAIN}.",
    "timestamp_too_far_in_past": "Stripe takes no usage of more than 35 days ago: bill it by an invoice item.",
    "timestamp_in_future": f"The clock of the source is ahead: set it right; when the time has come, {_AGAIN[5:]}.",
    "unreadable": "The report could not be understood: look at it in Stripe (Developers, Events), and report it as a defect of Taximeter.",
}
UNKNOWN_ADVICE: Final = "Not known to this version: look at the message and at the event in Stripe before anything is sent again."


def run(arguments: argparse.Namespace) -> int:
    """Exit code 2 when something was refused and not made good, 0 otherwise."""
    return run_on_logs(_show_errors(arguments, kafka_settings(arguments)))


async def _show_errors(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    reader = RejectionReader(kafka)
    try:
        found = await reader.read(int(time.time() * 1000) - round(arguments.hours * HOUR_MS))
    finally:
        await reader.close()
    refused = with_answers(found, await answered_reports(kafka, unnamed_reports(each.rejection for each in found)))
    if arguments.json:
        print_json({**as_json(refused, arguments.hours), "found_lost": reader.found_lost})
    else:
        _show(refused, arguments.hours)
        if reader.found_lost:
            lost = f"{reader.found_lost:,} meter events that it lacks"
            print(f"\nStripe's sums have shown {lost}, named or not; taximeter rejected list says what was done")
    return DISCREPANCY if _unbilled(refused) else OK


def advice(code: str) -> str:
    """What to do about a code."""
    return ADVICE.get(code, UNKNOWN_ADVICE)


def as_json(refused: Sequence[TracedRejection], hours: float) -> dict[str, Any]:
    """For `--json`: sums by code, then every rejection with the meter events it names."""
    counts = _counts(refused)
    return {
        "hours": hours,
        "errors": sum(counts.values()),
        "not_billed": _unbilled(refused),
        "codes": [{"code": code, "errors": count, "advice": advice(code)} for code, count in counts.most_common()],
        "rejections": [
            {
                "event": each.rejection.event_id,
                "meter": each.rejection.meter,
                "code": each.rejection.code,
                "message": each.rejection.message,
                "partition": each.rejection.partition,
                "errors": each.rejection.error_count,
                "unnamed": each.rejection.unnamed,
                "unnamed_left": each.unnamed,
                "answer": None if each.answer is None else each.answer.as_json(),
                "window_start_ms": each.rejection.window_start_ms,
                "window_end_ms": each.rejection.window_end_ms,
                "samples": _samples(each),
            }
            for each in refused
        ],
    }


def _samples(refused: TracedRejection) -> list[dict[str, Any]]:
    found = []
    for name in refused.rejection.identifiers:
        event = refused.events.get(name)
        known = {} if event is None else {"customer": event.customer, "meter": event.meter, "value": event.value, "time_ms": event.time_ms}
        resend = refused.resends.get(name)
        again = {} if resend is None else {"correction": resend.identifier, "outcome": resend.outcome, "refused_later": resend.refused_later}
        found.append({"identifier": name, **known, **({"sent_again": again} if again else {})})
    return found


def _unbilled(refused: Sequence[TracedRejection]) -> int:
    """How many of the errors nothing made good."""
    return sum(each.unbilled for each in refused)


def _counts(refused: Sequence[TracedRejection]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for each in refused:
        counts[each.rejection.code] += each.rejection.error_count
    return counts


def _state(refused: Sequence[TracedRejection]) -> str:
    unbilled = _unbilled(refused)
    again = sum(each.sent_again for each in refused)
    answered = sum(each.rejection.error_count - each.sent_again for each in refused) - unbilled
    if not again and not answered:
        return "They are not billed."
    said = [f"{again:,} of them {'was' if again == 1 else 'were'} sent again by a correction that Stripe accepted"] if again else []
    said += [f"Stripe's sums answer {answered:,} that it did not name"] if answered else []
    said.append(f"{unbilled:,} are not billed" if unbilled else "none is left that is not billed")
    return "; ".join(said) + "."


def _by_code(refused: Sequence[TracedRejection]) -> Table:
    """How many of each code and meter Stripe names, how many it does not, how many were sent again, and what is left to do."""
    table = Table()
    for heading in ("code", "meter", "named", "unnamed", "answered", "sent again", "next"):
        table.add_column(heading, justify="left" if heading in {"code", "meter", "next"} else "right", overflow="fold")
    rows: dict[tuple[str, str], list[TracedRejection]] = {}
    for each in refused:
        rows.setdefault((each.rejection.code, each.rejection.meter), []).append(each)
    for (code, meter), found in rows.items():
        named = sum(each.rejection.error_count - each.rejection.unnamed for each in found)
        again = sum(each.sent_again for each in found)
        unnamed = sum(each.rejection.unnamed for each in found)
        left = sum(each.unnamed for each in found)
        table.add_row(code, meter, f"{named:,}", f"{unnamed:,}", f"{unnamed - left:,}", f"{again:,}", _next(named, again, left))
    return table


def _next(named: int, again: int, unnamed: int) -> str:
    """What is left to do about those of one code and meter."""
    steps = [*(["correct"] if named > again else []), *(["reconcile"] if unnamed else [])]
    return ", ".join(steps) or "nothing"


def _reconcile_command(refused: Sequence[TracedRejection]) -> str | None:
    """What finds the customers and hours of those that Stripe does not name; None if all are named or answered."""
    unnamed = [each.rejection for each in refused if each.unnamed]
    if not unnamed:
        return None
    # A meter event is sent within 20 hours, and its usage is of the time before.
    since_ms = min(rejection.window_start_ms or rejection.at_ms for rejection in unnamed) - RECONCILE_BEFORE_MS
    return f"taximeter reconcile --all --from {datetime.fromtimestamp(since_ms // HOUR_MS * 3600, UTC):%Y-%m-%dT%H:00:00Z}"


def _cells(refused: TracedRejection, name: str) -> list[str]:
    rejection, event, resend = refused.rejection, refused.events.get(name), refused.resends.get(name)
    since = "not billed" if resend is None else resend.as_text()
    if event is None:
        return [name, "not in this ledger", rejection.meter, "", "", rejection.code, since]
    return [name, event.customer, event.meter, f"{event.value:,}", shown(event.time_ms // 1000), rejection.code, since]


def _show(refused: Sequence[TracedRejection], hours: float) -> None:
    out = console()
    counts = _counts(refused)
    if not refused:
        out.print(f"Stripe refused nothing in {hours:g} hours after it had accepted it, as far as it told.")
        return
    out.print(f"Stripe accepted and then refused {sum(counts.values()):,} meter events in {hours:g} hours. {_state(refused)}")
    out.print()
    out.print(_by_code(refused))
    for code in (code for code, _ in counts.most_common()):
        out.print(f"\n{code}:\n  {advice(code)}")
        message = next((each.rejection.message for each in refused if each.rejection.code == code and each.rejection.message), "")
        if message:
            out.print(f"  Stripe says: {message}")
    command = _reconcile_command(refused)
    if command is not None:
        out.print(f"\nThose that are not named are in no list of Stripe's. This finds the customers and hours where units are missing:\n  {command}")
    for each in refused:
        for line in each.answer.lines() if each.answer is not None and each.answer.answered else ():
            out.print(line, markup=False)
    table = Table(title="What Stripe names of them", title_justify="left")
    headings = ["identifier", "customer", "meter", "value", "time", "code"]
    if any(each.resends for each in refused):
        headings.append("since then")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "value" else "left", overflow="fold")
    samples = [(each, name) for each in refused for name in each.rejection.identifiers]
    for each, name in samples[-SAMPLES_SHOWN:]:
        table.add_row(*_cells(each, name)[: len(headings)])
    if samples:
        out.print()
        out.print(table)
    if len(samples) > SAMPLES_SHOWN:
        out.print(f"These are the last {SAMPLES_SHOWN} of {len(samples):,}; --json has all.")
