"""Usage in a partition of a broker, and commands that look at it."""

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import orjson
from taximeter_emitter.clock import SystemClock

from audit.positions import PartitionPosition, Positions
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from tests.support.aggregator_process import GROUP_VARIABLE, group_of
from tests.support.gateway_process import METERS, environment

PATIENCE_SECONDS: Final = 120.0
COMMAND_SECONDS: Final = 120.0


def event(event_id: str, customer: str = "cus_1", *, time_ms: int | None = None, units: int = 5) -> bytes:
    moment = datetime.fromtimestamp((SystemClock().now_ms() if time_ms is None else time_ms) / 1000, UTC)
    return orjson.dumps({"id": event_id, "source": "test", "customer": customer, "time": moment.isoformat(), "usage": {"n": units}})


async def emit(kafka: KafkaSettings, *values: bytes, partition: int = 0) -> None:
    appender = Appender(kafka, "test")
    try:
        for value in values:
            await appender.append(kafka.topics.events.name, partition, value)
    finally:
        await appender.close()


async def until_counted(kafka: KafkaSettings, end: int, partition: int = 0) -> PartitionPosition:
    """Wait until the chain of a partition ends there."""
    positions = Positions(kafka, SystemClock())
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while True:
            position = (await positions.read())[partition]
            if position.counted_to == end:
                return position
            assert time.monotonic() < deadline, position
            await asyncio.sleep(0.1)
    finally:
        await positions.close()


def taximeter(kafka: KafkaSettings, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    file = folder / "command.toml"
    file.write_text(METERS)
    command = [sys.executable, "-m", "taximeter", *arguments, "--config", str(file)]
    return subprocess.run(
        command, env=environment(kafka, {GROUP_VARIABLE: group_of(kafka)}), capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
    )
