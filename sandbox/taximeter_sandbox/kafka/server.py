"""The process: one event loop, one data folder, one port for Kafka clients."""

import asyncio
import fcntl
import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from taximeter_sandbox.kafka.cluster.broker import open_broker
from taximeter_sandbox.kafka.control_port import serve_control
from taximeter_sandbox.kafka.protocol.connection import Connection
from taximeter_sandbox.kafka.settings import BrokerSettings

_BACKLOG = 256


class DataFolderInUse(Exception):
    """Another broker runs on the same data folder."""


async def serve(settings: BrokerSettings, port_file: Path | None) -> None:
    """Run the broker until SIGTERM or SIGINT, then close in order.

    ``port_file`` is written when clients can connect: ``{"bootstrap": "host:port", "control_port": n or null}``.
    Raises DataFolderInUse, CorruptLog, OSError, ValueError at start.
    """
    loop = asyncio.get_running_loop()
    _raise_open_files_limit()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    with _only_broker_of(settings.data):
        broker = open_broker(settings)
        connections: set[Connection] = set()
        server = await loop.create_server(lambda: Connection(broker, connections), settings.host, settings.port, backlog=_BACKLOG)
        listening = server.sockets[0].getsockname()[1]
        broker.port = settings.advertised_port or listening
        control = None
        if settings.control_port is not None:
            control = await serve_control(broker.faults, settings.host, settings.control_port)
        control_port = control.sockets[0].getsockname()[1] if control else None
        _announce(settings, f"{settings.host}:{listening}", control_port, port_file)
        expiry = asyncio.create_task(broker.groups.run(), name="group expiry")
        stopped = asyncio.create_task(stop.wait(), name="stop signal")
        await asyncio.wait({expiry, stopped}, return_when=asyncio.FIRST_COMPLETED)
        server.close()
        if control:
            control.close()
        for connection in list(connections):
            connection.close()
        stopped.cancel()
        if expiry.done():
            expiry.result()  # raises: a broker that no longer expires members must not look healthy
        expiry.cancel()
        broker.close()


def _announce(settings: BrokerSettings, bootstrap: str, control_port: int | None, port_file: Path | None) -> None:
    print(
        f"Embedded Kafka-protocol broker on {bootstrap}, data in {settings.data}. A development stand-in: one node, no replication, "
        "transactions, compaction or retention. Do not keep anything in it that matters.",
        flush=True,
    )
    if control_port is not None:
        print(f"Control port for test faults: {control_port}", flush=True)
    if port_file is not None:
        draft = port_file.with_name(port_file.name + ".new")
        draft.write_text(json.dumps({"bootstrap": bootstrap, "control_port": control_port}))
        draft.replace(port_file)


@contextmanager
def _only_broker_of(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataFolderInUse(f"another broker runs on {folder}") from None
        yield
    finally:
        os.close(lock)


def _raise_open_files_limit() -> None:
    """Each partition and each connection holds a file open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
