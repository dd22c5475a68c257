"""`taximeter stripe setup`: make the meters, and the products and prices of the settings file, at Stripe.

What is published counts, and of the file what is new, so that a meter can be there before its first usage.

It shows what would be done, and asks, before it does anything.
"""

import argparse
import sys
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from rich.console import Console

from billing.calls import NotPossible
from billing.catalogue.account import Account
from billing.catalogue.account_reading import read_account
from billing.catalogue.apply import Done, Stopped, apply
from billing.catalogue.plan import Plan, plan
from billing.catalogue.plan_text import describe, plan_json, plan_lines
from billing.catalogue.pricing import Wanted
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, USAGE
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection, run_with_stripe
from taximeter.wanted_at_stripe import WantedAtStripe, wanted_at_stripe

_STYLES: Final = {"+": "green", "~": "yellow", "-": "yellow", "!": "bold red"}


@dataclass(slots=True)
class _Run:
    """What one run of the command wants, and what it has come to. `was_asked`: a person confirmed the plan."""

    sought: WantedAtStripe
    as_json: bool
    was_asked: bool
    plan: Plan | None = None
    done: list[Done] = field(default_factory=list)
    result: str = "failed"

    def document(self) -> dict[str, Any]:
        applied = [{"subject": describe(each.action).subject, "text": describe(each.action).text, "id": each.id} for each in self.done]
        return {
            "result": self.result,
            "catalogue_versions": list(self.sought.versions),
            "notes": list(self.sought.notes),
            "plan": None if self.plan is None else plan_json(self.plan),
            "applied": applied,
        }


def run(arguments: argparse.Namespace) -> int:
    """Show, ask, do, and look again. See SETUP_EXIT_CODES of the arguments."""
    try:
        this = _Run(wanted_at_stripe(arguments), arguments.json, was_asked=not arguments.yes)
    except CannotDo as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return error.code
    try:
        return _run(arguments, this)
    except KeyboardInterrupt:
        this.result = "interrupted"
        print("taximeter: whatever is listed as done is done; running this again continues from there", file=sys.stderr)
        raise
    finally:
        if arguments.json and this.plan is not None:
            print(orjson.dumps(this.document(), option=orjson.OPT_INDENT_2).decode())


def _run(arguments: argparse.Namespace, this: _Run) -> int:
    # Read and applied in two event loops: between them a person is asked, and Ctrl-C must end that at once.
    code = run_with_stripe(arguments, lambda connection: _look(connection, this))
    if code != OK or this.plan is None:
        return code
    if this.plan.is_empty:
        this.result = "nothing to do"
        return OK
    if this.plan.obstacles:
        this.result = "obstacles"
        print("taximeter: nothing was changed: first what is marked ! must be resolved", file=sys.stderr)
        return DISCREPANCY
    if arguments.dry_run:
        this.result = "differences"
        return DISCREPANCY
    if not arguments.yes:
        refusal = _not_confirmed(this)
        if refusal is not None:
            return refusal
    return run_with_stripe(arguments, lambda connection: _do(connection, this))


async def _look(connection: StripeConnection, this: _Run) -> int:
    this.plan = plan(this.sought.ahead, await _read(connection, this.sought.ahead))
    if not this.as_json:
        _show(connection, this.plan, this.sought)
    return OK


async def _do(connection: StripeConnection, this: _Run) -> int:
    wanted = this.sought.ahead
    current = plan(wanted, await _read(connection, wanted))
    if current != this.plan:
        # Another run, or a call of an interrupted one that Stripe carried out only now. Without a question there is nobody to have been misled.
        if this.was_asked or current.obstacles:
            this.result = "changed meanwhile"
            raise CannotDo("Stripe's side changed meanwhile; nothing was done: run it again to see what is to be done")
        this.plan = current
        if not this.as_json:
            print("Stripe's side changed meanwhile; what is to be done now:")
            _show(connection, current, this.sought)
    try:
        await apply(connection.client, current, on_done=lambda done: _tell(done, this))
    except Stopped as stopped:
        this.result = "stopped"
        print(f"taximeter: stopped at {describe(stopped.action)}", file=sys.stderr)
        print("taximeter: what is listed above is done; running this again continues from there", file=sys.stderr)
        if isinstance(stopped.cause, NotPossible):
            raise CannotDo(str(stopped.cause)) from stopped
        raise stopped.cause from stopped
    left = plan(wanted, await _read(connection, wanted))
    if not left.is_empty:
        this.result = "still different"
        lines = "; ".join(map(str, plan_lines(left)))
        raise CannotDo(f"all was carried out, and yet Stripe shows a difference; run it again in a minute: {lines}")
    this.result = "applied"
    if not this.as_json:
        print(f"read back: Stripe has all that is wanted ({this.sought.whose_meters})")
    return OK


async def _read(connection: StripeConnection, wanted: Wanted) -> Account:
    try:
        return await read_account(connection.client, wanted)
    except NotPossible as error:
        raise CannotDo(str(error)) from None


def _not_confirmed(this: _Run) -> int | None:
    """None after a yes, else the exit code. Asks on stderr: stdout may be JSON."""
    if not sys.stdin.isatty():
        this.result = "not confirmed"
        print("taximeter: there is no terminal to ask on; add --yes to carry this out, or --dry-run to only look", file=sys.stderr)
        return USAGE
    if this.as_json and this.plan is not None:
        for line in plan_lines(this.plan):
            print(line, file=sys.stderr)
    print("Do this? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in {"y", "yes"}:
        return None
    this.result = "not confirmed"
    print("taximeter: nothing was changed", file=sys.stderr)
    return FAILED


def _show(connection: StripeConnection, shown: Plan, sought: WantedAtStripe) -> None:
    console = Console(highlight=False, soft_wrap=True)
    settings = connection.settings
    console.print(f"{settings.api_base}, {'LIVE mode: customers pay for this' if settings.production else 'test mode'}", markup=False)
    console.print(sought.whose_meters, markup=False)
    for line in plan_lines(shown):
        console.print(str(line), style=_STYLES[line.sign], markup=False)
    for note in (*shown.notes, *sought.notes):
        console.print(f"  {note}", markup=False)
    if shown.is_empty:
        console.print(f"nothing to do: {shown.unchanged} as they are wanted", markup=False)
    elif shown.unchanged:
        console.print(f"  {shown.unchanged} as they are wanted", markup=False)


def _tell(done: Done, this: _Run) -> None:
    this.done.append(done)
    if not this.as_json:
        line = describe(done.action)
        print(f"done: {line.subject}: {line.text.partition(':')[0]} ({done.id})", flush=True)
