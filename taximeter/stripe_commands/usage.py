"""`taximeter stripe usage`: show what Stripe's summaries have for a customer."""

import argparse
import time
from decimal import Decimal
from typing import Any, Final

from rich.table import Table

from billing.selling.subscribing import billing_meter, list_subscriptions
from billing.selling.usage import SECONDS_OF, By, MeterAtStripe, Usage, UsageRow, find_meter, read_usage
from taximeter.exit_codes import OK, USAGE
from taximeter.stripe_commands.arguments import LAG
from taximeter.stripe_commands.running import console, print_json, run_billing, shown
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection

BAR_CELLS: Final = 30
ROWS_SHOWN: Final = 1_000
_EIGHTHS: Final = " ▏▎▍▌▋▊▉█"
_DEFAULT_RANGE_S: Final[dict[By, int]] = {"hour": 86_400, "day": 30 * 86_400, "total": 30 * 86_400}


def run(arguments: argparse.Namespace) -> int:
    """Show the usage of one customer."""

    async def command(connection: StripeConnection) -> int:
        names = [arguments.meter] if arguments.meter else list(connection.catalogue.by_name)
        now = int(time.time())
        read: list[tuple[Usage, tuple[int, int]]] = []
        for name in names:
            meter = await find_meter(connection.client, name)
            start, end = await _range(connection, meter, arguments, now)
            usage = await read_usage(connection.client, meter, arguments.customer, start=start, end=end, by=arguments.by)
            read.append((usage, (start, end)))
        if arguments.json:
            print_json({"usage": [_as_json(usage) for usage, _ in read]})
            return OK
        for usage, asked in read:
            _show(usage, asked)
        print(LAG)
        return OK

    return run_billing(arguments, command)


async def _range(connection: StripeConnection, meter: MeterAtStripe, arguments: argparse.Namespace, now: int) -> tuple[int, int]:
    by: By = arguments.by
    # What happens in this second counts.
    start, end = arguments.start, now + 1 if arguments.end is None else arguments.end
    if start is None:
        item = billing_meter(await list_subscriptions(connection.client, arguments.customer), meter.id)
        start = item.period_start if item is not None else end - _DEFAULT_RANGE_S[by]
    if end <= start:
        raise CannotDo("--to is not after --from", USAGE)
    return start, end


def bar(value: int | Decimal, largest: int | Decimal) -> str:
    """A bar of at most BAR_CELLS cells, to an eighth of a cell; what is not nothing shows."""
    if value <= 0 or largest <= 0:
        return ""
    eighths = max(1, int(value * BAR_CELLS * 8 / largest) if isinstance(value, Decimal) else int(value * BAR_CELLS * 8 // largest))
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest] if rest else "")


def _show(usage: Usage, asked: tuple[int, int]) -> None:
    out = console()
    told = _number(usage.total, exact=usage.exact) if usage.adds_up else f"the latest value of each {usage.by}"
    out.print(f"{usage.customer}, {usage.meter.event_name}, from {shown(usage.start)} to {shown(usage.end)}: {told}")
    if asked != (usage.start, usage.end):
        unit = "minutes" if usage.by == "total" else f"{usage.by}s"
        out.print(f"that is in full UTC {unit}, which is all that Stripe shows; asked for was {shown(asked[0])} to {shown(asked[1])}")
    if not usage.meter.active:
        out.print("the meter is deactivated: Stripe takes no more events for it")
    if usage.by != "total" and usage.rows:
        largest = max(row.value for row in usage.rows)
        table = Table()
        table.add_column(usage.by)
        table.add_column("usage", justify="right")
        table.add_column("")
        rows = usage.rows[-ROWS_SHOWN:]
        for row in rows:
            table.add_row(_label(row, usage.by), _number(row.value, exact=row.exact), bar(row.value, largest))
        out.print(table)
        if len(usage.rows) > len(rows):
            out.print(f"the last {len(rows):,} of {len(usage.rows):,} rows; see --json")
    if not usage.exact:
        out.print("~ marks what is not exact: Stripe's summaries are floating-point numbers, exact for whole numbers below 2^53")


def _label(row: UsageRow, by: By) -> str:
    return shown(row.start)[: len("2026-11-22") if by == "day" else len("2026-11-22 10:00")]


def _number(value: int | Decimal, *, exact: bool) -> str:
    return f"{value:,}" if exact else f"~{value:,}"


def _as_json(usage: Usage) -> dict[str, Any]:
    return {
        "customer": usage.customer,
        "meter": usage.meter.event_name,
        "meter_id": usage.meter.id,
        "by": usage.by,
        "start": usage.start,
        "end": usage.end,
        "group_seconds": None if usage.by == "total" else SECONDS_OF[usage.by],
        "total": _exactly(usage.total) if usage.adds_up else None,
        "exact": usage.exact,
        "rows": [{"start": row.start, "end": row.end, "value": _exactly(row.value), "exact": row.exact} for row in usage.rows],
    }


def _exactly(value: int | Decimal) -> str:
    """As a string: a reader of JSON may make a float of a number."""
    return str(value)
