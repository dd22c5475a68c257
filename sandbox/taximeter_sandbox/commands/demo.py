"""`taximeter demo`: run the whole pipeline under load on this machine, and compare.

What Stripe has at the end is compared with what was emitted.
"""

import argparse
import asyncio
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import aiohttp
import stripe
from aiokafka.errors import KafkaError
from rich.console import Console
from taximeter_emitter.wire.errors import TaximeterError

from metering.configuration.secrets import Redactor, Secret
from taximeter.exit_codes import DISCREPANCY, FAILED, INTERRUPTED, OK, PRECONDITION, USAGE
from taximeter_sandbox.brokers.choose import choose_broker
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.commands.arguments import CUSTOMERS, EVENTS, SANDBOX_CUSTOMERS, SANDBOX_EVENTS
from taximeter_sandbox.demo.closing import Outcome, show
from taximeter_sandbox.demo.plan import Pace, Plan
from taximeter_sandbox.demo.processes import ProcessFailed
from taximeter_sandbox.demo.story import Demo, DidNotSettle
from taximeter_sandbox.demo.stripe_account import AccountUnsuitable
from taximeter_sandbox.demo.stripe_side import StripeSandbox
from taximeter_sandbox.demo.view import view_for

TEST_KEY: Final = re.compile(r"(sk|rk)_test_[A-Za-z0-9_]{8,}")
STREAM_PACE: Final = Pace(stripe_calls_per_second=10_000)
SANDBOX_PACE: Final = Pace(report=15.0, drain_target=30.0, stripe_calls_per_second=12)
FAILURES: Final = (
    ProcessFailed,
    DidNotSettle,
    AccountUnsuitable,
    TaximeterError,
    KafkaError,
    aiohttp.ClientError,
    stripe.StripeError,
    OSError,
    TimeoutError,
)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 only if every number is exact."""
    key = None if arguments.stripe_key is None else Secret(arguments.stripe_key)
    if key is not None and TEST_KEY.fullmatch(key.reveal()) is None:
        print("taximeter: --stripe-key takes a test key only: sk_test_... or rk_test_...", file=sys.stderr)
        return USAGE
    plan = _plan(arguments, sandbox=key is not None)
    if problems := plan.problems():
        print("\n".join(f"taximeter: {problem}" for problem in problems), file=sys.stderr)
        return USAGE
    folder = Path(tempfile.mkdtemp(prefix="taximeter-demo-"))
    code = FAILED
    try:
        code = asyncio.run(_run(plan, folder, kafka=arguments.kafka, key=key, keep=arguments.keep))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("taximeter: interrupted; every process was ended", file=sys.stderr)
        code = INTERRUPTED
    except BrokerUnavailable as error:
        print(f"taximeter: {error}", file=sys.stderr)
        code = PRECONDITION
    except FAILURES as error:
        message = Redactor([key] if key is not None else []).redact(str(error) or type(error).__name__)
        print(f"taximeter: the demo failed: {message}", file=sys.stderr)
    finally:
        if code == OK:
            shutil.rmtree(folder)
        else:
            print(f"taximeter: logs, journals and the broker's data are in {folder}", file=sys.stderr)
    return code


async def _run(plan: Plan, folder: Path, *, kafka: str, key: Secret | None, keep: bool) -> int:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    data = folder / "broker"
    choice = await asyncio.to_thread(choose_broker, kafka, data=data)
    sandbox = None if key is None else StripeSandbox(key)
    view = view_for(sys.stderr)
    demo = Demo(plan=plan, folder=folder, broker=choice.broker, view=view, prefix=f"demo-{secrets.token_hex(4)}", stripe=sandbox)
    try:
        with view:
            outcome = await demo.run()
        _show(outcome)
        if keep:
            await _keep(demo)
    finally:
        await demo.close()
    return OK if outcome.is_exact else DISCREPANCY


async def _keep(demo: Demo) -> None:
    """Say where everything is, and wait for Ctrl-C, which is then no interruption but the end."""
    for name, address in demo.addresses().items():
        print(f"{name}: {address}", flush=True)
    print("everything is left running; Ctrl-C ends it", file=sys.stderr)
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def _show(outcome: Outcome) -> None:
    show(outcome, Console(file=sys.stdout, width=None if sys.stdout.isatty() else 120, no_color="NO_COLOR" in os.environ or None))


def _plan(arguments: argparse.Namespace, *, sandbox: bool) -> Plan:
    plan = Plan(
        events=arguments.events or (SANDBOX_EVENTS if sandbox else EVENTS),
        customers=arguments.customers or (SANDBOX_CUSTOMERS if sandbox else CUSTOMERS),
        seed=arguments.seed,
        stripe_api=arguments.stripe_api,
    )
    if sandbox:
        return replace(plan, pace=SANDBOX_PACE, load_seconds=60.0, settle_seconds=600.0)
    return replace(plan, pace=STREAM_PACE) if plan.stripe_api == "v2_stream" else plan
