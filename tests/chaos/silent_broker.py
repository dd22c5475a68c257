"""How long clients wait while one broker of three is silent: `python -m tests.chaos.silent_broker [--seconds 30] [--json FILE]`.

Each broker in turn is stopped with SIGSTOP, so one of them is the controller. Meanwhile requests with an event for each partition go to a gateway
one after the other, and an emitter in this process emits for each partition. Exit code 1 if a request was answered with anything but 202, or if
the emitter lost an event.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import aiohttp
import orjson
from taximeter_emitter import Emitter
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.partitioner import partition_of
from taximeter_sandbox.brokers.apache_cluster import ApacheCluster
from taximeter_sandbox.brokers.interface import BrokerUnavailable
from taximeter_sandbox.demo.installation import GATEWAY, Installation
from taximeter_sandbox.demo.plan import Plan
from taximeter_sandbox.demo.processes import Fleet
from taximeter_sandbox.demo.stripe_side import StripeSide

from metering.kafka.provision import ensure_topics

_BETWEEN_SECONDS: Final = 0.05
_RECOVERY_SECONDS: Final = 20.0
_CLOSE_SECONDS: Final = 60.0
_CALL: Final = aiohttp.ClientTimeout(total=120.0)


@dataclass(slots=True)
class Waits:
    """`gateway_s`: the longest request; `emitter_s`: the longest time without an acknowledgement, while there was something to acknowledge."""

    broker: str
    requests: int = 0
    gateway_s: float = 0.0
    refused: list[int] = field(default_factory=list)
    emitter_s: float = 0.0


class Load:
    """A gateway's clients, one for each partition, and an emitter."""

    def __init__(self, installation: Installation) -> None:
        self.waits = Waits("none")
        self._installation = installation
        self._customers = _one_for_each(installation.kafka.partitions)
        self._headers = {"Authorization": f"Bearer {installation.api_key_file.read_text()}"}
        self.emitter = Emitter(
            source="silent", bootstrap_servers=installation.kafka.bootstrap_servers, topic=installation.kafka.topics.events.name, when_full="block"
        )

    async def ask(self, customer: str) -> None:
        """Send requests one after the other."""
        async with aiohttp.ClientSession(timeout=_CALL, headers=self._headers) as session:
            for number in range(10**9):
                event = {"id": f"{customer}-{number}", "source": "silent", "customer": customer, "usage": {"input_tokens": 1}}
                began = time.monotonic()
                async with session.post(f"{self._installation.gateway_url}/v1/events", json=event) as response:
                    await response.read()
                waits = self.waits
                waits.requests += 1
                waits.gateway_s = max(waits.gateway_s, time.monotonic() - began)
                if response.status != 202:
                    waits.refused.append(response.status)
                await asyncio.sleep(_BETWEEN_SECONDS)

    async def emit(self) -> None:
        """Emit for each partition, and look how long nothing is acknowledged."""
        sent, since = -1, time.monotonic()
        while True:
            for customer in self._customers:
                await asyncio.to_thread(self.emitter.emit, customer=customer, usage={"input_tokens": 1})
            counts, now = self.emitter.stats().counts, time.monotonic()
            if counts.sent != sent:
                sent, since = counts.sent, now
            self.waits.emitter_s = max(self.waits.emitter_s, now - since)
            await asyncio.sleep(_BETWEEN_SECONDS)

    def tasks(self) -> Sequence[asyncio.Task[None]]:
        """Begin."""
        return [asyncio.create_task(self.emit()), *(asyncio.create_task(self.ask(customer)) for customer in self._customers)]


async def measure(cluster: ApacheCluster, folder: Path, seconds: float) -> Mapping[str, Any]:
    """All brokers in turn. Raises what set-up raises."""
    fleet = Fleet(folder)
    # No reporter runs here, so nobody asks Stripe.
    installation = Installation(
        folder, fleet, Plan(events=5_000), cluster.bootstrap, f"silent-{secrets.token_hex(3)}", cast("StripeSide", None), copies=3
    )
    installation.prepare()
    problems = await ensure_topics(installation.kafka, installation.kafka.topics, clock=SystemClock())
    assert not problems, problems
    try:
        await installation.start([GATEWAY])
        await installation.wait_until_ready([GATEWAY])
        load = Load(installation)
        tasks = load.tasks()
        found = []
        await asyncio.sleep(_RECOVERY_SECONDS / 2)
        for name in cluster.names:
            load.waits = Waits(name)
            found.append(load.waits)
            cluster.freeze_node(name)
            await asyncio.sleep(seconds)
            cluster.thaw_node(name)
            await asyncio.sleep(_RECOVERY_SECONDS)
            print(asdict(load.waits), flush=True)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        stats = await asyncio.to_thread(load.emitter.close, _CLOSE_SECONDS)
    finally:
        fleet.kill_all()
    return {"waits": [asdict(each) for each in found], "emitted": stats.counts.emitted, "sent": stats.counts.sent, "lost": stats.counts.lost}


def _one_for_each(partitions: int) -> list[str]:
    """A customer of each partition."""
    found: dict[int, str] = {}
    for number in range(100 * partitions):
        found.setdefault(partition_of(f"cus_{number}", partitions), f"cus_{number}")
    return list(found.values())


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos.silent_broker", description="How long clients wait while one broker of three is silent."
    )
    parser.add_argument("--seconds", type=float, default=30.0, help="how long each broker is silent (default %(default)g)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON, too")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="taximeter-silent-") as name:
        folder = Path(name)
        try:
            cluster = ApacheCluster(folder / "kafka")
            cluster.start()
        except BrokerUnavailable as error:
            print(f"silent broker: {error}", file=sys.stderr)
            return 4
        try:
            found = asyncio.run(measure(cluster, folder, arguments.seconds))
        finally:
            cluster.kill()
            cluster.stop()
    gateway, emitter = (max(each[name] for each in found["waits"]) for name in ("gateway_s", "emitter_s"))
    refused = [status for each in found["waits"] for status in each["refused"]]
    print(f"gateway: the longest request {gateway:.1f} s, {len(refused)} refused")
    print(f"emitter: {emitter:.1f} s without an acknowledgement, {found['lost']} lost")
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    return 1 if refused or found["lost"] else 0


if __name__ == "__main__":
    sys.exit(main())
