"""What chaos acts upon: the broker behind its proxy, the services, the Stripe simulator; and who starts again what has ended."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp
from taximeter_sandbox.demo.installation import AGGREGATORS, GATEWAY, REPORTERS, SERVICES, WORKERS, Installation
from taximeter_sandbox.demo.processes import Fleet

from tests.chaos.brokers import Brokers
from tests.chaos.service import KILLED

RESTART_SECONDS: Final = (0.0, 1.5)
WATCH_SECONDS: Final = 0.1
STOP_SECONDS: Final = 60.0
CALL_SECONDS: Final = 15.0
DOOMED_SECONDS: Final = 20.0
ORDERLY: Final = 0
FAILED: Final = 1
NOT_DRAINED: Final = "not drained in time"
TAIL_CHARS: Final = 4_000


@dataclass(slots=True)
class Arena:
    """Everything that can be broken. `small_disk`: a file system of its own that holds one emitter's spool.

    `counts` says what was done; `crashes` what ended although nobody killed it: there must be none.
    """

    folder: Path
    random: Random
    fleet: Fleet
    installation: Installation
    brokers: Brokers
    stripe_url: str
    stripe_api: str
    say: Callable[[str], None]
    small_disk: Path | None = None
    counts: Counter[str] = field(default_factory=Counter)
    crashes: list[str] = field(default_factory=list)
    busy: set[str] = field(default_factory=set)
    _frozen: set[str] = field(default_factory=set)
    _doomed: dict[str, str] = field(default_factory=dict)

    @property
    def session_seconds(self) -> float:
        """How long a member of a group may be silent."""
        return self.installation.plan.pace.session

    # Services

    @asynccontextmanager
    async def holding(self, name: str) -> AsyncIterator[None]:
        """Nobody else touches this process meanwhile; the watcher does not start it again either."""
        assert name not in self.busy, f"{name} is being dealt with"
        self.busy.add(name)
        try:
            yield
        finally:
            self.busy.discard(name)

    def free(self, *names: str) -> list[str]:
        """Those of the names that run, that no other action holds, and that do not go towards a kill point."""
        return [name for name in names if name not in self.busy and name not in self._doomed and self.fleet.is_running(name)]

    async def kill(self, name: str) -> None:
        """SIGKILL, a pause, and a new process."""
        async with self.holding(name):
            await asyncio.to_thread(self.installation.kill, name)
            self.counts[f"kill -9 {_service(name)}"] += 1
            await asyncio.sleep(self.random.uniform(*RESTART_SECONDS))
            await self.installation.start([name])

    async def doom(self, name: str, point: str, passages: int) -> None:
        """SIGKILL, and a new process that ends when it passes a named point for the given time; one that does not get there in time is killed."""
        await self.restart_with(name, {"CHAOS_KILL_AT": f"{point}:{passages}"})
        self._doomed[name] = point
        for _ in range(int(DOOMED_SECONDS / WATCH_SECONDS)):
            if name not in self._doomed:
                return
            await asyncio.sleep(WATCH_SECONDS)
        del self._doomed[name]
        self.counts[f"not reached {point}"] += 1
        await self.kill(name)

    async def restart_with(self, name: str, environment: Mapping[str, str]) -> None:
        """SIGKILL, and a new process that has this besides, once."""
        async with self.holding(name):
            await asyncio.to_thread(self.installation.kill, name)
            usual = dict(self.installation.environments.get(name, {}))
            self.installation.environments[name] = {**usual, **environment}
            try:
                await self.installation.start([name])
            finally:
                self.installation.environments[name] = usual

    async def stop_and_start(self, name: str) -> None:
        """SIGTERM, the drain, and a new process. Another end than that, or than the time for the drain being over, is a crash."""
        async with self.holding(name):
            self.installation.admin_urls.pop(name, None)
            codes = await self.fleet.stop([name], STOP_SECONDS)
            self.counts[f"SIGTERM {_service(name)}"] += 1
            if codes.get(name) == FAILED and NOT_DRAINED in self.fleet.log(name).read_text()[-TAIL_CHARS:]:
                # Kafka was away for the whole of the drain: what was not written is done again by the next owner.
                self.counts["SIGTERM not drained in time"] += 1
            elif codes.get(name, ORDERLY) != ORDERLY:
                self.crashes.append(f"{name} ended with {codes[name]} when it was asked to stop")
            await self.installation.start([name])

    async def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later: a zombie that does not know it."""
        async with self.holding(name):
            pid = self.fleet.pid(name)
            os.kill(pid, signal.SIGSTOP)
            self._frozen.add(name)
            try:
                await asyncio.sleep(seconds)
            finally:
                os.kill(pid, signal.SIGCONT)
                self._frozen.discard(name)
            self.counts[f"SIGSTOP {_service(name)}"] += 1

    async def watch(self) -> None:
        """Start again what ended by itself, as an orchestrator would; note what should not have ended."""
        while True:
            for name in SERVICES:
                if name in self.busy or not self.fleet.is_known(name):
                    continue
                code = self.fleet.exit_code(name)
                if code is not None:
                    await self._replace(name, code)
            await asyncio.sleep(WATCH_SECONDS)

    async def _replace(self, name: str, code: int) -> None:
        point = self._doomed.pop(name, None)
        if code == KILLED and point is not None:
            self.counts[f"kill at {point}"] += 1
        else:
            self.crashes.append(f"{name} ended by itself with exit code {code}:\n{self.fleet.log_tail(name)}")
            self.say(f"!! {name} ended by itself with exit code {code}")
        async with self.holding(name):
            await asyncio.to_thread(self.installation.kill, name)
            await self.installation.start([name])

    async def all_running(self) -> None:
        """Wait until no action holds a service, and each runs."""
        deadline = time.monotonic() + 120
        while self.busy or not all(self.fleet.is_running(name) for name in SERVICES):
            if time.monotonic() > deadline:
                raise TimeoutError(f"still busy: {sorted(self.busy)}")
            await asyncio.sleep(WATCH_SECONDS)

    # The brokers and the network

    async def kill_broker(self, down_seconds: float) -> None:
        """SIGKILL to one node, and a restart on the same data."""
        async with self.holding("broker"):
            name = self.random.choice(list(self.brokers.names))
            await asyncio.to_thread(self.brokers.kill, name)
            await asyncio.sleep(down_seconds)
            await asyncio.to_thread(self.brokers.restart, name)
            self.counts["kill -9 broker"] += 1

    async def freeze_broker(self, seconds: float) -> None:
        """SIGSTOP to one node: it holds its connections and answers nothing."""
        async with self.holding("broker"):
            name = self.random.choice(list(self.brokers.names))
            self.brokers.freeze(name)
            try:
                await asyncio.sleep(seconds)
            finally:
                self.brokers.thaw(name)
            self.counts["SIGSTOP broker"] += 1

    # Stripe

    async def tell_stripe(self, path: str, document: Mapping[str, Any]) -> None:
        """One call of the simulator's control API. Raises aiohttp.ClientError."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.post(self.stripe_url + path, json=document) as response,
        ):
            await response.read()

    async def mend_stripe(self) -> None:
        """Forget what was scripted and has not come to pass. A reporter without a key makes a call in half a minute: it would take very long."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.delete(f"{self.stripe_url}/_control/script") as response,
        ):
            await response.read()

    # Clocks

    def clock_file(self, name: str) -> Path:
        """Where a service reads by how many milliseconds its clock is off."""
        return self.folder / f"{name}.clock"

    def state_folder(self, name: str) -> Path:
        """Where an aggregator keeps its ids on disk."""
        return self.folder / f"{name}.state"

    def prepare(self, runner: tuple[str, ...]) -> None:
        """Every service runs with weak spots and a clock that can be moved; some are static members of their group, some keep ids on disk."""
        self.installation.runner = runner
        for name in SERVICES:
            self.installation.environments[name] = {"CHAOS_CLOCK_FILE": str(self.clock_file(name))}
        for name in REPORTERS:
            self.installation.environments[name]["TAXIMETER_STRIPE_METER_EVENTS"] = self.stripe_api
        self.installation.environments[AGGREGATORS[0]]["TAXIMETER_AGGREGATOR_STATE_DIR"] = str(self.state_folder(AGGREGATORS[0]))
        for name in WORKERS[::2]:
            self.installation.environments[name][f"TAXIMETER_{_service(name).upper()}_INSTANCE_ID"] = name


def _service(name: str) -> str:
    return GATEWAY if name == GATEWAY else name.partition("-")[0]
