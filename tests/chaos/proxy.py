"""A TCP proxy between the services and the broker that can misbehave as networks do."""

import asyncio
import contextlib
from dataclasses import dataclass
from random import Random
from typing import Final

CHUNK_BYTES: Final = 64 * 1024
SLICE_BYTES: Final = 7


@dataclass(slots=True)
class Toxics:
    """What is wrong at the moment; the defaults are a good network."""

    latency_s: float = 0.0  # each chunk waits so long
    slicing: bool = False  # a few bytes at a time
    black_hole: bool = False  # connections stay open and nothing passes: a half-open network
    refusing: bool = False  # new connections are closed at once


class FaultProxy:
    """Listens on `port` of 127.0.0.1 and passes on to `target_port`, as `toxics` allows."""

    def __init__(self, port: int, target_port: int, random: Random) -> None:
        self.toxics = Toxics()
        self._port = port
        self._target_port = target_port
        self._random = random
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._healed = asyncio.Event()

    async def start(self) -> None:
        """Listen. Raises OSError."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", self._port)

    async def close(self) -> None:
        """Stop listening and break what is open."""
        if self._server is not None:
            self._server.close()
        self.reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def reset(self) -> int:
        """Break every open connection; returns how many."""
        open_now = list(self._writers)
        for writer in open_now:
            writer.transport.abort()
        return len(open_now) // 2

    def heal(self) -> None:
        """A good network again; connections that were swallowed are broken, as their timers would do in the end."""
        swallowed = self.toxics.black_hole
        self.toxics = Toxics()
        self._healed.set()
        self._healed = asyncio.Event()
        if swallowed:
            self.reset()

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.toxics.refusing:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        ends = {writer, far_writer}
        self._writers |= ends
        try:
            await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        finally:
            self._writers -= ends
            for end in ends:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(CHUNK_BYTES):
                if self.toxics.black_hole:
                    await self._healed.wait()
                if self.toxics.latency_s:
                    await asyncio.sleep(self._random.uniform(0.5, 1.5) * self.toxics.latency_s)
                if self.toxics.slicing and len(chunk) < 4096:
                    for start in range(0, len(chunk), SLICE_BYTES):
                        writer.write(chunk[start : start + SLICE_BYTES])
                        await writer.drain()
                        await asyncio.sleep(0)
                else:
                    writer.write(chunk)
                    await writer.drain()
        # One side is done: the other must learn it, as it would through a closed socket.
        writer.transport.abort()
