"""What can go wrong, by name: each action breaks something of the arena and puts it right again before it returns."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from taximeter_sandbox.demo.installation import AGGREGATORS, GATEWAY, REPORTERS, WORKERS

from tests.chaos import cluster_actions as cluster
from tests.chaos.arena import Arena
from tests.chaos.proxy import FaultProxy
from tests.chaos.service import POINTS

SPARE: Final = {"aggregator": "aggregator-3", "reporter": "reporter-3"}
CLOCK_STEP_MS: Final = 120_000
ROUTES: Final = {"v1": "meter_events.create", "v2_stream": "v2.meter_event_stream.create"}


@dataclass(frozen=True, slots=True)
class Action:
    """`weight`: how often it is drawn, compared with the others; 0: only when it is named. `row`: what it covers, in words."""

    name: str
    weight: float
    row: str
    run: Callable[[Arena], Awaitable[None]]


async def _kill_one(arena: Arena, names: Sequence[str]) -> None:
    free = arena.free(*names)
    if free:
        await arena.kill(arena.random.choice(free))


async def kill_gateway(arena: Arena) -> None:
    await _kill_one(arena, [GATEWAY])


async def kill_aggregator(arena: Arena) -> None:
    await _kill_one(arena, AGGREGATORS)


async def kill_reporter(arena: Arena) -> None:
    await _kill_one(arena, REPORTERS)


async def kill_all_workers(arena: Arena) -> None:
    await asyncio.gather(*(arena.kill(name) for name in arena.free(*WORKERS)))


async def kill_point(arena: Arena) -> None:
    """A process that ends at a named point; the watcher starts it again."""
    service = arena.random.choice(list(POINTS))
    free = arena.free(*(GATEWAY,) if service == GATEWAY else [name for name in WORKERS if name.startswith(service)])
    if not free:
        return
    name, point = arena.random.choice(free), arena.random.choice(POINTS[service])
    await arena.doom(name, point, arena.random.randint(1, 6))


async def freeze_worker(arena: Arena) -> None:
    """Longer than the session: somebody else owns its partitions when it wakes."""
    free = arena.free(*WORKERS)
    if free:
        await arena.freeze(arena.random.choice(free), arena.random.uniform(1.2, 3.0) * arena.session_seconds)


async def freeze_gateway(arena: Arena) -> None:
    if arena.free(GATEWAY):
        await arena.freeze(GATEWAY, arena.random.uniform(1.0, 6.0))


async def stop_one(arena: Arena) -> None:
    free = arena.free(GATEWAY, *WORKERS)
    if free:
        await arena.stop_and_start(arena.random.choice(free))


async def rolling_restart(arena: Arena) -> None:
    for name in (GATEWAY, *WORKERS):
        if arena.free(name):
            await arena.stop_and_start(name)


async def rebalance_storm(arena: Arena) -> None:
    """A third member that joins, and leaves in order or not, again and again."""
    service = arena.random.choice(list(SPARE))
    name = SPARE[service]
    if name in arena.busy:
        return
    async with arena.holding(name):
        for _ in range(4):
            await arena.installation.start([name])
            await asyncio.sleep(arena.random.uniform(0.3, 2.0))
            if arena.random.random() < 0.5:
                await asyncio.to_thread(arena.installation.kill, name)
            else:
                arena.installation.admin_urls.pop(name, None)
                await arena.fleet.stop([name])
    arena.counts["rebalance storm"] += 1


async def rival_owner(arena: Arena) -> None:
    """A worker of another group: it owns every partition, beside those that own them already."""
    service = arena.random.choice(list(SPARE))
    name = f"{service}-rival"
    if name in arena.busy:
        return
    async with arena.holding(name):
        arena.installation.environments[name] = {f"TAXIMETER_{service.upper()}_GROUP_ID": f"{arena.installation.prefix}-rival"}
        await arena.installation.start([name])
        await asyncio.sleep(arena.random.uniform(3.0, 12.0))
        await asyncio.to_thread(arena.installation.kill, name)
    arena.counts[f"rival {service}"] += 1


async def spoil_snapshots(arena: Arena) -> None:
    """Bytes of an aggregator's files of ids are overwritten or cut off, between two lives."""
    name = AGGREGATORS[0]
    if not arena.free(name):
        return
    async with arena.holding(name):
        await asyncio.to_thread(arena.installation.kill, name)
        files = [path for path in arena.state_folder(name).rglob("*") if path.is_file()]
        for path in arena.random.sample(files, min(3, len(files))):
            _spoil(path, arena.random)
        await arena.installation.start([name])
    arena.counts["snapshots spoilt"] += 1


def _spoil(path: Path, random: Random) -> None:
    data = bytearray(path.read_bytes())
    at = random.randrange(len(data) + 1)
    path.write_bytes(data[:at] if random.random() < 0.5 else data[:at] + random.randbytes(16) + data[at + 16 :])


async def kill_broker(arena: Arena) -> None:
    if "broker" not in arena.busy:
        await arena.kill_broker(arena.random.uniform(0.2, 4.0))


async def broker_away(arena: Arena) -> None:
    """Long enough that spools and buffers matter."""
    if "broker" not in arena.busy:
        await arena.kill_broker(600.0)


async def freeze_broker(arena: Arena) -> None:
    if "broker" not in arena.busy:
        await arena.freeze_broker(arena.random.choice([2.0, 5.0, 12.0]))


async def freeze_broker_for_a_minute(arena: Arena) -> None:
    if "broker" not in arena.busy:
        await arena.freeze_broker(60.0)


def _some_proxy(arena: Arena) -> FaultProxy:
    return arena.random.choice(list(arena.brokers.proxies.values()))


async def _network(arena: Arena, name: str, seconds: float, **toxics: float | bool) -> None:
    if "network" in arena.busy:
        return
    async with arena.holding("network"):
        proxy = _some_proxy(arena)
        for toxic, value in toxics.items():
            setattr(proxy.toxics, toxic, value)
        await asyncio.sleep(seconds)
        proxy.heal()
        arena.counts[f"network {name}"] += 1


async def slow_network(arena: Arena) -> None:
    await _network(arena, "slow", 6.0, latency_s=arena.random.uniform(0.02, 0.25))


async def sliced_network(arena: Arena) -> None:
    await _network(arena, "sliced", 6.0, slicing=True)


async def half_open_network(arena: Arena) -> None:
    await _network(arena, "half-open", arena.random.choice([3.0, 12.0]), black_hole=True)


async def refusing_network(arena: Arena) -> None:
    _some_proxy(arena).reset()
    await _network(arena, "refusing", arena.random.uniform(1.0, 5.0), refusing=True)


async def reset_connections(arena: Arena) -> None:
    for _ in range(3):
        _some_proxy(arena).reset()
        await asyncio.sleep(arena.random.uniform(0.1, 1.0))
    arena.counts["network reset"] += 1


async def stripe_outage(arena: Arena) -> None:
    if "stripe" in arena.busy:
        return
    async with arena.holding("stripe"):
        mode = arena.random.choice(["reset", "hang", "server_error", "bad_gateway"])
        await arena.tell_stripe("/_control/config", {"outage": mode})
        await asyncio.sleep(arena.random.uniform(1.0, 8.0))
        await arena.tell_stripe("/_control/config", {"outage": "off"})
        arena.counts[f"Stripe outage ({mode})"] += 1


async def stripe_lies(arena: Arena) -> None:
    """The next calls take effect and are answered as if they had not, or not at all."""
    kind = arena.random.choice(["server_error_after", "reset_after", "truncate_after", "bad_gateway_after"])
    times = arena.random.randint(5, 60)
    await arena.tell_stripe("/_control/script", {"route": ROUTES[arena.stripe_api], "kind": kind, "times": times})
    arena.counts[f"Stripe {kind}"] += times


async def stripe_refuses_the_pace(arena: Arena) -> None:
    kind = arena.random.choice(["rate_limited", "lock_timeout", "conflict", "key_revoked"])
    times = 2 if kind == "key_revoked" else arena.random.randint(5, 40)
    await arena.tell_stripe("/_control/script", {"route": ROUTES[arena.stripe_api], "kind": kind, "times": times})
    arena.counts[f"Stripe {kind}"] += times


async def noise_of_refusals(arena: Arena) -> None:
    """For some seconds, one call in a hundred is answered with 429, whatever the rate."""
    if "stripe" in arena.busy:
        return
    async with arena.holding("stripe"):
        for _ in range(10):
            await arena.tell_stripe("/_control/script", {"route": ROUTES[arena.stripe_api], "kind": "rate_limited", "times": 1})
            await asyncio.sleep(arena.random.uniform(0.2, 0.8))
        arena.counts["Stripe 429, now and then"] += 10


async def full_disk(arena: Arena) -> None:
    """The disk under one emitter's spool is full while the broker is away."""
    if arena.small_disk is None or "broker" in arena.busy:
        return
    ballast = arena.small_disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(b"\0" * 4096)
            file.flush()
    try:
        await arena.freeze_broker(8.0)
    finally:
        ballast.unlink(missing_ok=True)
    arena.counts["disk full under a spool"] += 1


async def step_clock(arena: Arena) -> None:
    """A process's clock jumps by up to two minutes, and back later."""
    name = arena.random.choice((GATEWAY, *WORKERS))
    path = arena.clock_file(name)
    path.write_text(str(arena.random.randint(-CLOCK_STEP_MS, CLOCK_STEP_MS)))
    await asyncio.sleep(arena.random.uniform(1.0, 6.0))
    path.write_text("0")
    arena.counts["clock step"] += 1


ACTIONS: Final[Sequence[Action]] = (
    Action("kill-gateway", 3, "kill -9 of a gateway", kill_gateway),
    Action("kill-aggregator", 3, "kill -9 of an aggregator", kill_aggregator),
    Action("kill-reporter", 3, "kill -9 of a reporter", kill_reporter),
    Action("kill-all-workers", 0.5, "kill -9 of every worker at once", kill_all_workers),
    Action("kill-point", 4, "end at a named point", kill_point),
    Action("freeze-worker", 1.5, "SIGSTOP longer than the session (zombie)", freeze_worker),
    Action("freeze-gateway", 0.5, "SIGSTOP of the gateway", freeze_gateway),
    Action("stop", 1.5, "SIGTERM under load", stop_one),
    Action("rolling-restart", 0.3, "rolling restart", rolling_restart),
    Action("rebalance-storm", 0.5, "rebalance storm", rebalance_storm),
    Action("rival-owner", 0.5, "rival owners", rival_owner),
    Action("spoil-snapshots", 0.5, "files of ids spoilt", spoil_snapshots),
    Action("kill-broker", 0.7, "kill -9 and restart of the broker", kill_broker),
    Action("broker-away", 0, "broker away for ten minutes", broker_away),
    Action("freeze-broker", 0.5, "broker frozen for seconds", freeze_broker),
    Action("freeze-broker-minute", 0.05, "broker frozen for 60 s", freeze_broker_for_a_minute),
    Action("slow-network", 0.5, "latency between service and broker", slow_network),
    Action("sliced-network", 0.5, "sliced TCP", sliced_network),
    Action("half-open-network", 0.5, "half-open connections", half_open_network),
    Action("refusing-network", 0.5, "connections refused", refusing_network),
    Action("reset-connections", 0.7, "connections reset", reset_connections),
    Action("stripe-outage", 0.7, "Stripe away", stripe_outage),
    Action("stripe-lies", 1.5, "Stripe takes an event and does not say so", stripe_lies),
    Action("stripe-refuses", 0.7, "429, 409, 401", stripe_refuses_the_pace),
    Action("stripe-noise", 0.5, "429 now and then", noise_of_refusals),
    Action("full-disk", 0.2, "disk full under the spool", full_disk),
    Action("clock-step", 0.7, "clock steps", step_clock),
)
_ON_ONE_BROKER: Final = {"kill-broker", "broker-away", "freeze-broker", "freeze-broker-minute"}
CLUSTER_ACTIONS: Final[Sequence[Action]] = (
    *(action for action in ACTIONS if action.name not in _ON_ONE_BROKER),
    Action("kill-node", 1.5, "kill -9 of one broker of three, leaders with it", cluster.kill_a_node),
    Action("silent-node", 1.5, "one broker of three silent without a reset", cluster.silent_node),
    Action("roll-nodes", 0.3, "rolling restart of the brokers", cluster.rolling_restart_of_nodes),
    Action("below-min-insync", 0.7, "two brokers of three away", cluster.below_min_insync),
    Action("cut-off", 1, "a broker cut off from the others", cluster.cut_off),
    Action("move-leaders", 1, "leaders moved every second or two", cluster.move_leaders),
    Action("reassign", 0.7, "every copy moved", cluster.reassign),
)
"""The same on a cluster of three, and what only a cluster can suffer."""

BY_NAME: Final[Mapping[str, Action]] = {action.name: action for action in (*ACTIONS, *CLUSTER_ACTIONS)}
