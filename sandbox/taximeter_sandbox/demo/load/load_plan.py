"""Share a run's events among its load processes, and say how to start each."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from taximeter_sandbox.demo.installation import Installation
from taximeter_sandbox.demo.load.journal import SUFFIX
from taximeter_sandbox.demo.load.load_orders import LoadOrder
from taximeter_sandbox.demo.plan import PARTITIONS, Mix, Plan
from taximeter_sandbox.demo.processes import Command, own_environment

MODULES: Final = {
    "sdk": "taximeter_sandbox.demo.load.load_emitters",
    "http": "taximeter_sandbox.demo.load.load_http",
    "kafka": "taximeter_sandbox.demo.load.load_records",
}


def load_orders(plan: Plan, installation: Installation, customers: Sequence[str]) -> list[LoadOrder]:
    """One order a process; together exactly the plan's events."""
    http, records = int(plan.events * plan.http_share), int(plan.events * plan.record_share)
    kinds: list[tuple[str, int, Mix]] = [
        *(("http", events, plan.http_mix) for events in _split(http, plan.http_processes)),
        ("kafka", records, plan.record_mix),
        *(("sdk", events, plan.emitter_mix) for events in _split(plan.events - http - records, plan.emitter_processes)),
    ]
    orders = []
    for number, (kind, events, mix) in enumerate(kinds, start=1):
        name = f"{kind}-{number}"
        order = LoadOrder(
            name=name,
            events=events,
            seconds=plan.load_seconds,
            seed=plan.seed,
            customers=customers,
            mix=mix,
            journal=installation.folder / f"{name}{SUFFIX}",
            progress=installation.folder / f"{name}.progress.json",
            bootstrap_servers=installation.bootstrap_servers,
            topic_prefix=installation.prefix,
            partitions=PARTITIONS,
            gateway=installation.gateway_url,
            api_key_file=installation.api_key_file,
            spool=installation.folder / f"{name}.spool",
        )
        orders.append(order)
    return orders


def load_commands(orders: Sequence[LoadOrder], folder: Path, modules: Mapping[str, str] = MODULES) -> list[Command]:
    """Write each order into a file, and say which process takes it: the module of its kind, with which its name begins."""
    commands = []
    for order in orders:
        path = folder / f"{order.name}.order.json"
        order.write(path)
        commands.append(Command(order.name, (modules[order.name.partition("-")[0]], str(path)), own_environment()))
    return commands


def _split(total: int, parts: int) -> list[int]:
    """`parts` numbers that add up to `total` and differ by at most one."""
    return [total // parts + (position < total % parts) for position in range(parts)]
