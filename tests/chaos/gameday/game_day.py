"""One game day: the load of a chaos run, and one fault after the other instead of several at a time."""

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson
from taximeter_sandbox.brokers.readiness import free_port
from taximeter_sandbox.demo.installation import GATEWAY, SERVICES
from taximeter_sandbox.demo.load.load_orders import LoadOrder
from taximeter_sandbox.demo.processes import own_environment

from tests.chaos.arena import Arena
from tests.chaos.brokers import Brokers
from tests.chaos.gameday.faults import Fault
from tests.chaos.gameday.watchtower import RUNBOOKS, Message, Watchtower
from tests.chaos.run import Chaos, ChaosPlan
from tests.support.deploy_files import panels

CALM_SECONDS: Final = 75.0
LATE_SECONDS: Final = 60.0  # for how long an alert is waited for beyond its time
POLL_SECONDS: Final = 0.5
REPORTS_SECONDS: Final = 45.0  # error reports of what was refused come by then
WATCHDOG: Final = "TaximeterWatchdog"


@dataclass(slots=True)
class Outcome:
    """What came of one fault. Seconds; None: it never came. `others` got a message beside it; `doctor_first` is the doctor's first cause."""

    fault: str
    alert: str
    fired_after: float | None = None
    gone_after: float | None = None
    receiver: str = ""
    others: list[str] = field(default_factory=list)
    doctor_code: int = 0
    doctor_seconds: float = 0.0
    doctor_first: str = ""
    problems: list[str] = field(default_factory=list)


class GameDay(Chaos):
    """Faults in turn. `outcomes` is filled as they pass."""

    def __init__(self, faults: Sequence[Fault], rate: int, *, folder: Path, brokers: Brokers, say: Callable[[str], None]) -> None:
        seconds = CALM_SECONDS + sum(fault.within_s + fault.gone_s for fault in faults)
        super().__init__(ChaosPlan(seconds=seconds, seed=1, events_per_second=rate, malformed=0.0), folder, brokers, Random(1), say)
        self.outcomes: list[Outcome] = []
        self._faults = faults
        self._where = folder
        self._tell = say
        self._ports = {name: free_port("127.0.0.1") for name in SERVICES}
        jobs: dict[str, list[str]] = {}
        for name, port in self._ports.items():
            jobs.setdefault(name.partition("-")[0], []).append(f"127.0.0.1:{port}")
        self.watchtower = Watchtower(folder, jobs)

    async def close(self) -> None:
        """End all processes."""
        await self.watchtower.close()
        await super().close()

    def prepare(self, arena: Arena) -> None:
        """A process that starts again is where Prometheus knows it."""
        super().prepare(arena)
        for name, port in self._ports.items():
            arena.installation.environments[name]["TAXIMETER_SERVICE_ADMIN_PORT"] = str(port)
            arena.installation.environments[name]["TAXIMETER_WEBHOOKS_BACKFILL_SECONDS"] = "15"

    async def break_things(self, arena: Arena, _orders: Sequence[LoadOrder], /) -> None:
        """Calm, then each fault, its alert, the doctor, the repair, and the end of the alert."""
        await self.watchtower.start()
        self._tell(f"{CALM_SECONDS:.0f} s of calm")
        await asyncio.sleep(CALM_SECONDS)
        if early := {each.name for each in self.watchtower.messages if each.firing} - {WATCHDOG}:
            arena.crashes.append(f"alerts came while nothing was broken: {sorted(early)}")
        arena.crashes += [f"a panel is empty in a healthy system: {panel}" for panel in await self._empty_panels()]
        for fault in self._faults:
            self._tell(f"{fault.row}:")
            outcome = await self._play(fault, arena)
            self.outcomes.append(outcome)
            arena.counts[fault.row] += 1
            arena.crashes += [f"{fault.name}: {problem}" for problem in outcome.problems]
            self._tell(told(outcome))
        await arena.all_running()
        if any(fault.refuses_later for fault in self._faults):
            await self._answer_refusals(arena)

    async def _answer_refusals(self, arena: Arena) -> None:
        """What the doctor says to type: meter events that Stripe took and refused later are sent again, on record."""
        self._tell("what Stripe refused later is sent again")
        await asyncio.sleep(REPORTS_SECONDS)
        why = ("--reason", "the meter is active again", "--by", "gameday", "--yes")
        code, said = await self._taximeter(arena, "correct", "--resend", "--code", "archived_meter", *why)
        if code:
            arena.crashes.append(f"taximeter correct ended with {code}: {said.decode()[-500:]}")

    async def _taximeter(self, arena: Arena, *arguments: str) -> tuple[int, bytes]:
        """A command, as a person types it: its exit code and what it says; that is why it failed where it has nothing else to say."""
        environment = {**own_environment(), **arena.installation.command_environment()}
        line = [sys.executable, "-m", "taximeter", *arguments, "--config", str(self._where / "taximeter.toml")]
        process = await asyncio.create_subprocess_exec(*line, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
        output, problems = await process.communicate()
        return process.returncode or 0, output or problems

    async def _empty_panels(self) -> list[str]:
        """Queries of the dashboard that show nothing now."""
        found, asked = [], 0
        for panel in panels():
            for target in panel["targets"]:
                expression = target["expr"].replace("$__rate_interval", "1m").replace("$job", ".+").replace("$instance", ".+")
                asked += 1
                if not await self.watchtower.query(expression):
                    found.append(f"{panel['title']}: {expression}")
        self._tell(f"{asked} queries of the dashboard evaluated, {len(found)} empty")
        return found

    async def _play(self, fault: Fault, arena: Arena) -> Outcome:
        outcome, began = Outcome(fault.row, fault.alert), time.monotonic()
        await fault.begin(arena)
        message = await self._message(fault.alert, firing=True, after=began, seconds=fault.within_s + LATE_SECONDS)
        if message is not None:
            outcome.fired_after, outcome.receiver = message.at - began, message.receiver
            if message.runbook_url != f"{RUNBOOKS}/{fault.alert}.md":
                outcome.problems.append(f"its runbook is {message.runbook_url}")
        if message is None or message.at - began > fault.within_s:
            outcome.problems.append(f"{fault.alert} did not come within {fault.within_s:.0f} s")
        await self._doctor(fault, arena, outcome)
        ended = time.monotonic()
        await fault.end(arena)
        repaired = time.monotonic()
        if message is not None:
            gone = await self._message(fault.alert, firing=False, after=ended, seconds=fault.gone_s + LATE_SECONDS)
            outcome.gone_after = None if gone is None else gone.at - repaired
            if gone is None or gone.at - repaired > fault.gone_s:
                outcome.problems.append(f"{fault.alert} did not go within {fault.gone_s:.0f} s")
        sent = {each.name for each in self.watchtower.messages if each.firing and each.at >= began}
        outcome.others = sorted(sent - {fault.alert, WATCHDOG})
        return outcome

    async def _message(self, name: str, *, firing: bool, after: float, seconds: float) -> Message | None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.watchtower.told(name, firing=firing, after=after)
            if found is not None:
                return found
            await asyncio.sleep(POLL_SECONDS)
        return None

    async def _doctor(self, fault: Fault, arena: Arena, outcome: Outcome) -> None:
        """As the one who is woken would: the page is kept in the folder, and the JSON is read."""
        began = time.monotonic()
        gateway = f"http://127.0.0.1:{self._ports[GATEWAY]}"
        outcome.doctor_code, output = await self._taximeter(arena, "doctor", "--json", "--runbooks", RUNBOOKS, "--gateway", gateway)
        outcome.doctor_seconds = time.monotonic() - began
        (self._where / f"doctor-{fault.name}.json").write_bytes(output)
        try:
            causes = [cause["what"] for cause in orjson.loads(output)["causes"]]
        except orjson.JSONDecodeError:
            outcome.problems.append(f"the doctor said {output.decode()[-500:]}")
            return
        outcome.doctor_first = causes[0] if causes else "all is well"
        if fault.doctor and not any(fault.doctor in what for what in causes):
            outcome.problems.append(f"the doctor did not say {fault.doctor!r}: {causes}")


def told(outcome: Outcome) -> str:
    """One fault in two lines."""
    fired = "never" if outcome.fired_after is None else f"after {outcome.fired_after:.0f} s"
    gone = "never" if outcome.gone_after is None else f"{outcome.gone_after:.0f} s after the repair"
    others = f"; also {', '.join(outcome.others)}" if outcome.others else ""
    doctor = f"doctor (exit {outcome.doctor_code}, {outcome.doctor_seconds:.1f} s): {outcome.doctor_first}"
    return f"  {outcome.alert} came {fired}, went {gone}{others}\n  {doctor}"


def table(outcomes: Sequence[Outcome]) -> str:
    """For docs/alerts.md."""
    lines = ["| Fault | Alert | Comes after | Goes after the repair | Other messages |", "| --- | --- | --- | --- | --- |"]
    for each in outcomes:
        came, went = ("never" if seconds is None else f"{seconds:.0f} s" for seconds in (each.fired_after, each.gone_after))
        lines.append(f"| {each.fault} | `{each.alert}` ({each.receiver}) | {came} | {went} | {', '.join(each.others) or 'none'} |")
    return "\n".join(lines)


def as_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [asdict(each) for each in outcomes]
