"""`taximeter quickstart`: start everything on this machine, print lines to paste, and follow the bill.

Ctrl-C proves the bill, and ends everything.
"""

import argparse
import asyncio
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson
import stripe
from aiokafka.errors import KafkaError
from taximeter_emitter.wire.errors import TaximeterError

from audit.verification.verdict import ProofVerdict
from billing.calls import NotPossible
from taximeter.commands.verify import VERDICT_CODES
from taximeter.exit_codes import FAILED, INTERRUPTED, OK, PRECONDITION
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.demo.processes import ProcessFailed
from taximeter_sandbox.quickstart.bill import Bill
from taximeter_sandbox.quickstart.offer import CUSTOMER, curl_line, python_lines
from taximeter_sandbox.quickstart.quickstart import Ports, Quickstart

SCHEMA: Final = "taximeter.quickstart/1"
_FAILURES: Final = (ProcessFailed, NotPossible, TaximeterError, KafkaError, aiohttp.ClientError, stripe.StripeError, OSError, TimeoutError)


def run(arguments: argparse.Namespace) -> int:
    """The exit code of `verify`, or why it could not be asked."""
    ports = Ports(gateway=arguments.port, kafka=arguments.kafka_port, stripe=arguments.stripe_port)
    if problems := _taken(ports):
        print("\n".join(f"taximeter: {problem}" for problem in problems), file=sys.stderr)
        return PRECONDITION
    code = FAILED
    folder: Path = arguments.folder or Path(tempfile.mkdtemp(prefix="taximeter-quickstart-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        code = asyncio.run(_run(Quickstart(folder, ports), _Telling(as_json=arguments.json)))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("taximeter: interrupted; every process was ended", file=sys.stderr)
        code = INTERRUPTED
    except BrokerUnavailable as error:
        print(f"taximeter: {error}", file=sys.stderr)
        code = PRECONDITION
    except _FAILURES as error:
        print(f"taximeter: the quickstart failed: {str(error) or type(error).__name__}", file=sys.stderr)
    finally:
        if arguments.folder is None and code in {OK, INTERRUPTED}:
            shutil.rmtree(folder)
        else:
            print(f"taximeter: settings, keys, logs and data are in {folder}; to go on: taximeter quickstart --folder {folder}", file=sys.stderr)
    return code


async def _run(quickstart: Quickstart, telling: "_Telling") -> int:
    task = asyncio.current_task()
    assert task is not None
    stop = asyncio.Event()
    _on_signal(task.cancel)
    began = time.monotonic()
    try:
        telling.start()
        await quickstart.start()
        telling.ready(quickstart, time.monotonic() - began)
        _on_signal(stop.set)
        await quickstart.follow(stop, telling.bill)
        # A second signal does without the proof.
        _on_signal(task.cancel)
        telling.closing()
        verdict = await quickstart.verdict(telling.bill)
        telling.verdict(verdict)
        return VERDICT_CODES[verdict.word]
    finally:
        await quickstart.close()


def _on_signal(act: Callable[[], object]) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, act)


def _taken(ports: Ports) -> list[str]:
    """Ports that something else has, with the option that takes another."""
    found = []
    for option, what, port in (
        ("--port", "the gateway", ports.gateway),
        ("--kafka-port", "Kafka", ports.kafka),
        ("--stripe-port", "the Stripe simulator", ports.stripe),
    ):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                found.append(f"port {port}, for {what}, is taken: choose another with {option}, or 0 for a free one")
    return found


class _Telling:
    """Says how it goes on stdout: in sentences, or as a JSON object a line."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def start(self) -> None:
        self._say("starting Kafka, a Stripe simulator, the gateway, an aggregator, a reporter and the console on this machine ...")

    def ready(self, quickstart: Quickstart, seconds: float) -> None:
        url, key = quickstart.installation.gateway_url, quickstart.key.token
        python, curl = python_lines(url, key), curl_line(url, key)
        if self._as_json:
            self._json("ready", **quickstart.addresses(), folder=str(quickstart.folder), customer=CUSTOMER, python=python, curl=curl)
            return
        print(
            f"""ready after {seconds:.0f} s. Now emit an event, in another terminal. In Python:

{python}

Or with curl; it has an id, so that it counts once, however often you send it:

{curl}

The bill of {CUSTOMER} (USD 2.50 and 10.00 for a million input and output
tokens), also in a browser: {quickstart.installation.console_url}
Ctrl-C proves it and ends everything.
""",
            flush=True,
        )

    def bill(self, bill: Bill) -> None:
        now = datetime.now(UTC)
        if self._as_json:
            self._json("bill", at=now.isoformat(timespec="milliseconds"), **bill.as_json())
        else:
            print(f"{now:%H:%M:%S}  {bill.line()}", flush=True)

    def closing(self) -> None:
        self._say("\nthe gateway stops; what came in is billed, and every event is counted again ...")

    def verdict(self, verdict: ProofVerdict) -> None:
        if self._as_json:
            self._json("verdict", exit_code=VERDICT_CODES[verdict.word], **verdict.as_json())
            return
        print(f"verify: {verdict.text}")
        print("Next: `taximeter demo` does this under load and kills parts of it.\ndocs/stripe.md goes to your own Stripe sandbox.", flush=True)

    def _say(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)

    def _json(self, what: str, **fields: Any) -> None:
        print(orjson.dumps({"schema": SCHEMA, "what": what, **fields}).decode(), flush=True)
