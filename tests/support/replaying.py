"""A whole pipeline as processes, usage in it, `taximeter replay` on it, and what Stripe bills."""

import asyncio
import io
import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import orjson
import stripe
from taximeter_emitter import Emitter
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from metering.kafka.clients import KafkaSettings, started
from taximeter.cli import main
from taximeter.exit_codes import OK
from tests.support.aggregator_process import AggregatorProcess, aggregator
from tests.support.gateway_process import METERS, environment
from tests.support.reporter_process import ReporterProcess, reporter
from tests.support.repository import ROOT
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS

REPLAY_SECONDS: Final = 120.0
MORE_METERS: Final = METERS + '[[meters]]\nevent_name = "images"\nsum = ["i"]\n'

ANSWERS: Final = ("--by", "ann", "--yes")
PAGE: Final = ROOT / "docs/replay.md"

Bill = dict[tuple[str, str], int]
"""Units by customer and meter."""


@dataclass
class Pipeline:
    """`folder` has the settings file that commands read. `changes` are settings that differ from the usual ones."""

    kafka: KafkaSettings
    simulator: SimulatorProcess
    folder: Path
    changes: dict[str, str] = field(default_factory=dict)
    stack: ExitStack = field(default_factory=ExitStack)
    counting: AggregatorProcess | None = None
    reporting: ReporterProcess | None = None

    @property
    def variables(self) -> dict[str, str]:
        """The settings of the reporter and of the commands."""
        return {
            "STRIPE_API_KEY": KEY,
            "TAXIMETER_STRIPE_API_BASE": self.simulator.url,
            "TAXIMETER_STRIPE_CALLS_PER_SECOND": "2000",
            "TAXIMETER_REPORTER_REPORT_SECONDS": "0.2",
            "TAXIMETER_REPORTER_DRAIN_TARGET_SECONDS": "1",
            "TAXIMETER_WEBHOOKS_SIGNING_SECRETS": "whsec_unused",
            "TAXIMETER_KAFKA_SESSION_TIMEOUT_SECONDS": "6",
            **self.changes,
        }

    def start(self, meters: str = METERS) -> None:
        """Start the services with these meters; those that ran before end first."""
        self.stop()
        self.stack = ExitStack()
        (self.folder / "taximeter.toml").write_text(meters)
        self.counting = self.stack.enter_context(aggregator(self.kafka, self.folder / "aggregator", meters=meters))
        self.reporting = self.stack.enter_context(reporter(self.kafka, self.folder / "reporter", self.variables, meters=meters))

    def stop(self) -> None:
        """Both services end in good order."""
        for process in (self.counting, self.reporting):
            if process is not None:
                assert process.terminate() == 0, process.log
        self.stack.close()
        self.counting = self.reporting = None

    def bill(self) -> Bill:
        """What Stripe has, without what comes to nothing."""
        found: Bill = {}
        for row in self.simulator.call("GET", "/_oracle/books")["rows"]:
            key = row["customer"], row["event_name"]
            found[key] = found.get(key, 0) + int(row["total"])
        return {key: units for key, units in found.items() if units}

    async def billed(self, wanted: Bill) -> None:
        """Wait until Stripe has exactly this."""
        deadline = time.monotonic() + REPLAY_SECONDS
        while (found := self.bill()) != wanted:
            assert time.monotonic() < deadline, f"{found}\n{self.counting and self.counting.log}\n{self.reporting and self.reporting.log}"
            await asyncio.sleep(0.1)

    def taximeter(self, *arguments: str) -> tuple[int, Any]:
        """The exit code of a command, and its JSON. It runs in this process, which spares it the imports, in a thread, since it has its own loop."""
        out, error = io.StringIO(), io.StringIO()
        variables = patch.dict(os.environ, environment(self.kafka, self.variables), clear=True)
        with variables, chdir(self.folder), redirect_stdout(out), redirect_stderr(error), ThreadPoolExecutor(1) as thread:
            code = thread.submit(main, [*arguments, "--json"]).result(REPLAY_SECONDS)
        return code, json.loads(out.getvalue()) if out.getvalue() else error.getvalue()

    def page(self, section: str, **names: str) -> list[Any]:
        """Run the commands of a section of docs/replay.md, in the folder, and return their JSON; `names` are put in for words of the page."""
        found = []
        for line in commands_of(section):
            words = [names.get(word, word) for word in line]
            code, answer = self.taximeter(*words, *(ANSWERS if words[1] in {"apply", "abandon"} else ()))
            assert code == OK, (words, answer)
            found.append(answer)
        return found

    def begin(self, *arguments: str) -> "subprocess.Popen[str]":
        """A command that runs."""
        command = [sys.executable, "-m", "taximeter", *arguments, "--json"]
        return subprocess.Popen(
            command, cwd=self.folder, env=environment(self.kafka, self.variables), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    async def send(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Single events as they are."""
        async with started(make_producer(self.kafka.options(), client_id="single", record_bytes_max=EVENT_RECORD_BYTES_MAX)) as producer:
            for event in events:
                await producer.send_and_wait(self.kafka.topics.events.name, orjson.dumps(event), key=str(event["customer"]).encode())

    async def emit(self, events: Sequence[Mapping[str, Any]]) -> None:
        """The same through an emitter, in batches."""

        def emit() -> None:
            with Emitter(kafka=self.kafka.options(), topic=self.kafka.topics.events.name, source="sdk") as emitter:
                for event in events:
                    assert emitter.emit(**event)

        await asyncio.to_thread(emit)


def commands_of(section: str) -> list[list[str]]:
    """The arguments of each command in a section of docs/replay.md."""
    text = PAGE.read_text().partition(f"## {section}\n")[2].partition("\n## ")[0]
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("    taximeter ")]


@contextmanager
def pipeline(kafka: KafkaSettings, folder: Path, customers: Sequence[str]) -> Iterator[Pipeline]:
    """A simulator of Stripe with these customers and the meters of MORE_METERS. The services are not started yet."""
    simulator = SimulatorProcess(folder)
    simulator.start()
    made = Pipeline(kafka, simulator, folder)
    try:
        simulator.call("POST", "/_control/config", {"limits": NO_LIMITS})
        simulator.call("POST", "/_control/customers", {"ids": list(customers)})
        client = stripe.StripeClient(KEY, base_addresses={"api": simulator.url}, http_client=stripe.UrllibClient())
        for name in ("tokens", "images"):
            client.v1.billing.meters.create({"display_name": name, "event_name": name, "default_aggregation": {"formula": "sum"}})
        yield made
    finally:
        made.stack.close()
        simulator.stop()
