"""`taximeter stripe doctor`: check the key, its permissions, the clock, and what Stripe has.

Can this installation bill with this key, from this machine, and does Stripe have what it needs?
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

import orjson
from rich.console import Console
from rich.table import Table
from taximeter_emitter.clock import SystemClock

from billing.checkup.checks import Check
from billing.checkup.examination import Webhook, examine
from metering.configuration.secrets import Redactor
from reporter.stripe.report_types import REPORT_TYPES
from reporter.webhooks.webhook_intake import MONITORED
from taximeter.exit_codes import DISCREPANCY, OK
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection, run_with_stripe
from taximeter.wanted_at_stripe import WantedAtStripe, wanted_at_stripe

_STYLES: Final = {"ok": "green", "warning": "yellow", "failed": "bold red"}


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 if no check failed, 2 otherwise. Nothing is changed at Stripe."""
    try:
        sought = wanted_at_stripe(arguments)
    except CannotDo as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return error.code
    return run_with_stripe(arguments, lambda connection: _examine(connection, sought, arguments))


async def _examine(connection: StripeConnection, sought: WantedAtStripe, arguments: argparse.Namespace) -> int:
    settings = connection.settings
    webhook = Webhook(arguments.webhook_url, sorted(REPORT_TYPES), MONITORED) if arguments.webhook_url else None
    checks = await examine(connection.client, sought.wanted, SystemClock(), key=settings.api_key, production=settings.production, webhook=webhook)
    redact = Redactor([settings.api_key]).redact
    checks = [Check(check.name, check.state, redact(check.seen), redact(check.way_out)) for check in checks]
    failed = any(check.state == "failed" for check in checks)
    if arguments.json:
        document = {
            "api_base": settings.api_base,
            "catalogue_versions": list(sought.versions),
            "failed": failed,
            "checks": [asdict(check) for check in checks],
        }
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(f"{settings.api_base}, {sought.whose_meters}", checks)
    return DISCREPANCY if failed else OK


def _show(title: str, checks: Sequence[Check]) -> None:
    console = Console(width=None if sys.stdout.isatty() else 160, no_color="NO_COLOR" in os.environ or None, highlight=False, markup=False)
    table = Table("", "check", "seen", "way out", title=title)
    for check in checks:
        table.add_row(check.state, check.name, check.seen, check.way_out, style=None if check.state == "ok" else _STYLES[check.state])
    console.print(table)
    counts = ", ".join(f"{sum(check.state == state for check in checks)} {state}" for state in _STYLES)
    console.print(counts)
