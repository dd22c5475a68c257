"""The control port: one JSON object a line in, one a line out, to arm faults from a test.

{"fault": "lose_append", "topic": "usage.tallies", "count": 1}          acknowledge the next batch and do not store it
{"fault": "lose_acknowledgement", "topic": "usage.tallies", "count": 1}  store the next batch, then close the connection
{"fault": "freeze", "seconds": 5}                                       answer nothing for a while
{"fault": "delay", "milliseconds": 200, "seconds": 10}                  answer everything late, for a while
{"fault": "clear"}                                                      disarm everything
"""

import asyncio
import json
from typing import Any

from taximeter_sandbox.kafka.cluster.broker_faults import Faults

_LINE_BYTES_MAX = 64 * 1024
_SECONDS_MAX = 3600.0


async def serve_control(faults: Faults, host: str, port: int) -> asyncio.Server:
    """Listen for fault commands. Raises OSError when the port is taken."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(json.dumps(_obey(faults, line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):
            return
        finally:
            writer.close()

    return await asyncio.start_server(handle, host, port, limit=_LINE_BYTES_MAX)


async def send_control(host: str, port: int, command: dict[str, Any]) -> None:
    """Send one command to a broker's control port and wait until it is in force. Raises OSError, or ValueError with the refusal."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(json.dumps(command).encode() + b"\n")
        answer = json.loads(await reader.readline())
    finally:
        writer.close()
        await writer.wait_closed()
    if not answer["ok"]:
        raise ValueError(answer["error"])


def _obey(faults: Faults, line: bytes) -> dict[str, Any]:
    now = asyncio.get_running_loop().time()
    try:
        command = json.loads(line)
        match command:
            case {"fault": "lose_append" | "lose_acknowledgement" as name}:
                armed = faults.lose_append if name == "lose_append" else faults.lose_acknowledgement
                armed[command.get("topic")] = int(command.get("count", 1))
            case {"fault": "freeze", "seconds": seconds}:
                faults.frozen_until = now + min(float(seconds), _SECONDS_MAX)
            case {"fault": "delay", "milliseconds": milliseconds, "seconds": seconds}:
                faults.delay_s = min(float(milliseconds) / 1000, _SECONDS_MAX)
                faults.delay_until = now + min(float(seconds), _SECONDS_MAX)
            case {"fault": "clear"}:
                faults.clear()
            case _:
                raise ValueError("no such fault, or a field is missing")
    except (ValueError, TypeError) as error:
        return {"ok": False, "error": str(error)}
    return {"ok": True}
