"""One peer on one load: warmed, measured, killed, started again, and its answer compared each time."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from typing import Final

from confluent_kafka import KafkaException
from taximeter_emitter.clock import SystemClock

from benchmarks.measurement import Measurement, Unavailable
from benchmarks.paths import Arena, Measures, Path
from benchmarks.peers.cache import PeerUnavailable
from benchmarks.peers.catalogue import PEERS
from benchmarks.peers.load import Load, Part, Sums, make_load
from benchmarks.peers.peer import Job, Peer
from benchmarks.peers.positions import GroupView
from benchmarks.peers.running_peer import PeerFailed, RunningPeer
from benchmarks.usage_load import LoadRecord, produce
from metering.kafka.clients import KafkaSettings
from metering.kafka.provision import ensure_topics
from metering.kafka.topics import UNLIMITED, TopicSpec
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX

EVENTS: Final = 200_000
PARTITIONS: Final = 4
COMMIT_MS: Final = 1_000
FINISH_SECONDS: Final = 600.0
_POLL_SECONDS: Final = 0.02


@asynccontextmanager
async def begin(peers: Sequence[Peer], arena: Arena) -> AsyncIterator[Measures]:
    """Make one load for all of them; each gets it in a topic of its own, since what comes later is written while it is halted."""
    load = await asyncio.to_thread(make_load, arena.events(EVENTS), partitions=PARTITIONS)
    yield {peer.name: partial(measure, peer, load, arena) for peer in peers}


async def measure(peer: Peer, load: Load, arena: Arena) -> Measurement | Unavailable:
    """What this peer costs, or why it cannot be said."""
    folder = arena.folder / f"peer-{token_hex(4)}"
    folder.mkdir()
    job = Job(arena.kafka(PARTITIONS), folder, COMMIT_MS)
    try:
        command = await asyncio.to_thread(peer.command, job)
        await make_topics(job.kafka, peer.output(job))
        return await asyncio.to_thread(run_trial, peer, job, command, load)
    except (PeerUnavailable, PeerFailed, KafkaException, TimeoutError) as error:
        return Unavailable(" ".join(str(error).split()))


async def make_topics(kafka: KafkaSettings, output: str) -> None:
    """The topics of an installation, and the one that a peer writes to, if it is none of them."""
    own = TopicSpec(name=output, retention_ms=UNLIMITED, record_bytes_max=CHAIN_RECORD_BYTES_MAX)
    names = {spec.name: spec for spec in (own, *kafka.topics)}
    problems = await ensure_topics(kafka, names.values(), clock=SystemClock())
    assert not problems, problems


def run_trial(peer: Peer, job: Job, command: Sequence[str], load: Load) -> Measurement:
    """All of it. Raises PeerFailed. Blocks."""
    with GroupView(job.servers, job.group, job.kafka.partitions) as view:
        return Trial(peer, job, command, view).run(load)


class Trial:
    """The course of one measurement. Everything blocks."""

    def __init__(self, peer: Peer, job: Job, command: Sequence[str], view: GroupView) -> None:
        self._peer = peer
        self._job = job
        self._command = command
        self._view = view
        self._output = peer.output(job)

    def run(self, load: Load) -> Measurement:
        """All of it. Raises PeerFailed."""
        self._write(self._records(load.warm))
        process = self._start()
        try:
            self._until_done(process)
            measured = self._measured(process, load.measured)
            self._interrupt(process, load.last)
        finally:
            process.kill()
        restarted_ms = time.time_ns() // 1_000_000
        process = self._start()
        try:
            self._until_done(process)
        finally:
            process.kill()
        return _with(measured, self._after_kill(load.last.expected, restarted_ms))

    def _measured(self, process: RunningPeer, part: Part) -> Measurement:
        process.halt()
        self._write(self._records(part))
        cpu, start_ms = process.cpu_seconds(), time.time_ns() // 1_000_000
        process.go_on()
        self._until_done(process)
        used = process.cpu_seconds() - cpu
        records = list(self._view.records(self._output))
        wall_ms = max(1, max((record.append_ms for record in records), default=0) - start_ms)
        exact = _difference(self._peer.answer(records), part.expected) == 0
        return Measurement(part.events, used, wall_ms / 1000, process.peak_rss_bytes, {"exact": float(exact)})

    def _interrupt(self, process: RunningPeer, part: Part) -> None:
        """Kill it as soon as it has written something about the first half; the second half comes while it is away."""
        coming = self._records(part)
        half = len(coming) // 2
        process.halt()
        self._write(coming[:half])
        before = self._view.ends(self._output)
        process.go_on()
        self._until(process, lambda: self._view.ends(self._output) != before)
        process.kill()
        self._write(coming[half:])

    def _after_kill(self, expected: Sums, restarted_ms: int) -> dict[str, float]:
        records = list(self._view.records(self._output))
        new = [record.append_ms for record in records if record.append_ms >= restarted_ms]
        off = _difference(self._peer.answer(records), expected)
        found = {"exact after SIGKILL": float(off == 0), "off by tokens": float(off)}
        return found | ({"restart s": (min(new) - restarted_ms) / 1000} if new else {})

    def _records(self, part: Part) -> Sequence[LoadRecord]:
        return part.batches if self._peer.batches else part.singles

    def _start(self) -> RunningPeer:
        return RunningPeer(self._command, self._job.folder / "log", self._peer.environment(self._job))

    def _write(self, records: Sequence[LoadRecord]) -> None:
        produce(self._job.kafka, records)

    def _until_done(self, process: RunningPeer) -> None:
        """Until the group has committed the end of the topic: every peer commits after it has written."""
        job = self._job
        ends = self._view.ends(job.input)
        self._until(process, lambda: self._view.committed(job.input) == ends)

    def _until(self, process: RunningPeer, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + FINISH_SECONDS
        while not condition():
            process.check()
            if time.monotonic() > deadline:
                raise PeerFailed(f"not done after {FINISH_SECONDS:.0f} s: {process.said()}")
            time.sleep(_POLL_SECONDS)


def _difference(answer: Sums, expected: Sums) -> int:
    """By how many tokens an answer is off, windows taken one by one."""
    return sum(abs(answer[window] - expected[window]) for window in answer.keys() | expected.keys())


def _with(measured: Measurement, more: dict[str, float]) -> Measurement:
    return Measurement(measured.events, measured.cpu_seconds, measured.wall_seconds, measured.peak_rss_bytes, {**measured.more, **more})


def path_of(peers: Sequence[Peer]) -> Path:
    """These peers as one path."""
    return Path("peers", partial(begin, peers))


PATHS: Final[Sequence[Path]] = (path_of(PEERS),)
