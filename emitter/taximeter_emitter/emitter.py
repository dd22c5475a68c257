"""Emit usage events from a Python service without ever waiting for Kafka, or for the gateway.

emitter = Emitter("https://meter.internal", api_key="tmk_...", source="inference/eu-1", spool_dir="/var/spool/taximeter")
emitter.emit(customer="cus_123", usage={"input_tokens": 812, "output_tokens": 164}, dimensions={"model": "alpaca-7b"})
emitter.close()
"""

import asyncio
import atexit
import os
import sys
import uuid
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cache
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, get_args

from taximeter_emitter.background import EmitterOptions, EmitterThread
from taximeter_emitter.buffer.emit_buffer import WhenFull
from taximeter_emitter.buffer.event_encoding import Event, EventEncoder, GivenUsage
from taximeter_emitter.clock import Clock, SystemClock
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.logs.refusal_log import RefusalLog
from taximeter_emitter.optional_parts import gateway_producers, kafka_producers, metrics_on, spool_directory
from taximeter_emitter.sender import SendingPace
from taximeter_emitter.transports.batch_producer import ProducerFactory
from taximeter_emitter.transports.gateway_options import GatewayOptions
from taximeter_emitter.transports.kafka_options import KafkaOptions
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import check_not_in_future, check_text, parse_time
from taximeter_emitter.wire.limits import SOURCE_CHARS_MAX

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

MEBIBYTE: Final = 1024 * 1024
TOPIC_DEFAULT: Final = "usage.events"
CLOSE_SECONDS: Final = 10.0
_SECURE_SECONDS: Final = 1.0

OnRejected = Callable[[EventRejected, Mapping[str, Any]], None]

_EMITTERS: Final["weakref.WeakSet[Emitter]"] = weakref.WeakSet()
# By the token that a pickle carries: unpickling in the same process gives the same emitter again.
_BY_TOKEN: Final["weakref.WeakValueDictionary[str, Emitter]"] = weakref.WeakValueDictionary()
_AFTER_ALL_OTHERS: Final = -100
# The process in which the finaliser of multiprocessing was registered; a fork copies this, and not the registration.
_FINALISED: Final[dict[str, int]] = {}
# What a forked child inherits of its parent's emitters. It must not be finalised there: the loop's descriptors and the database are shared.
_INHERITED: Final[list[EmitterThread]] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitterStats:
    """A look at an emitter. `buffered_events` wait in memory to be batched; `spooled_events` and `spool_bytes` wait on disk.

    `spools_left`: spools of dead processes in the spool directory that are not sent yet, and `spools_unreadable` those that nobody can read, as
    far as this emitter has looked.

    `emitter`: the id under which its batches are numbered. `connected`: whether Kafka can be reached; if not, `last_error` says why.
    `memory_bytes`: of all that waits in memory.
    """

    counts: EmitterCounts
    emitter: str
    connected: bool
    last_error: str
    buffered_events: int
    memory_bytes: int
    spooled_events: int
    spool_bytes: int
    spools_left: int
    spools_unreadable: int


class Emitter:
    """Takes usage events from any thread, and from async code, and brings them to Kafka from a thread of its own: directly, or through a gateway.

    The constructor never waits for either. It raises ValueError when an argument cannot be right, and ImportError, naming the extra to
    install, when a library is missing.

    After a fork the child has an emitter of its own, empty. A pickled emitter becomes, in another process, one with the same arguments, but
    without `registry`. An emitter that nobody closed is closed when the interpreter, or a child of multiprocessing, ends. A process that a
    signal kills, or that calls os._exit, ends without that.

    Where events go:
    `url`: of a gateway, such as https://meter.internal, and `api_key` for it; or, instead of both, `gateway`, which also has a CA file and time
    limits. Nothing but orjson is needed for that. `bootstrap_servers` or `kafka`: to Kafka itself, with the extra `kafka`. Give one of the four.
    `source`: names this service; customer, source and id together make the identity of an event.
    `bootstrap_servers`: brokers as host:port, a list or separated by commas. `kafka` instead gives everything: security, compression, time limits.
    `topic`: where usage events go; a gateway knows that itself, and spools are marked with it. `partitions`: the topic's, if nobody should be
    asked.

    What waits while Kafka is away:
    `spool_dir`: where batches go then, at most `spool_bytes_max`; without it they wait in memory.
    `memory_bytes_max`: bytes that events may take in memory. `when_full`: what `emit` does when they do, "drop_and_count", or "block" (never
    in async code).

    What is refused at once:
    `usage_fields`: the names that usage may have; any, if None. Others cost themselves and not their event. `on_rejected`: called in the emitting
    thread with the reason and the arguments of a refused `emit`.

    What people can look up:
    `keep_ids`: whether batches carry each `event_id` as it was given, beside its fingerprint, so that `taximeter trace` and `explain` show it. All
    aggregators and commands must be of a version that knows this.

    Pace:
    `linger_ms`: how long events are gathered to be sent together. `heartbeat_seconds`: silence after which a heartbeat tells a partition that no
    events are missing. `give_up_seconds`: without any acknowledgement for this long, the connection is replaced.

    For the surroundings:
    `registry`: put metrics on it; needs the extra `prometheus`. `new_producer`: another way out than Kafka, and `clock`: for tests.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        source: str,
        api_key: str | None = None,
        gateway: GatewayOptions | None = None,
        bootstrap_servers: str | Sequence[str] = (),
        kafka: KafkaOptions | None = None,
        topic: str = TOPIC_DEFAULT,
        partitions: int | None = None,
        spool_dir: "str | os.PathLike[str] | None" = None,
        spool_bytes_max: int = 1024 * MEBIBYTE,
        memory_bytes_max: int = 64 * MEBIBYTE,
        when_full: WhenFull = "drop_and_count",
        usage_fields: Collection[str] | None = None,
        on_rejected: OnRejected | None = None,
        keep_ids: bool = False,
        linger_ms: int = 100,
        heartbeat_seconds: float = 60.0,
        give_up_seconds: float = 20.0,
        registry: "CollectorRegistry | None" = None,
        new_producer: ProducerFactory | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._arguments = {name: value for name, value in locals().items() if name not in {"self", "registry"}}
        self._token = uuid.uuid4().hex
        if memory_bytes_max < MEBIBYTE or spool_bytes_max < MEBIBYTE:
            raise ValueError("memory_bytes_max and spool_bytes_max are at least a mebibyte")
        if when_full not in get_args(WhenFull) or not 0 < linger_ms <= 60_000:
            raise ValueError('when_full is "drop_and_count" or "block"; linger_ms is from 1 to 60000')
        if partitions is not None and partitions < 1:
            raise ValueError("partitions is at least 1")
        try:
            check_text(source, "source", SOURCE_CHARS_MAX)
        except EventRejected as refusal:
            raise ValueError(str(refusal)) from None
        self._options = EmitterOptions(
            source=source,
            keep_ids=keep_ids,
            partitions=partitions,
            spools=None if spool_dir is None else spool_directory(spool_dir, topic=topic, bytes_max=spool_bytes_max),
            memory_bytes_max=memory_bytes_max,
            when_full=when_full,
            heartbeat_seconds=heartbeat_seconds,
            pace=SendingPace(linger=linger_ms / 1000, secure=_SECURE_SECONDS, give_up=give_up_seconds, memory_bytes_max=memory_bytes_max),
        )
        self._clock = clock or SystemClock()
        if url is not None or api_key is not None:
            gateway = _gateway_of(url, api_key, gateway)
        if gateway is not None and (bootstrap_servers or kafka is not None):
            raise ValueError("events go to a gateway or to Kafka: give url (or gateway), or bootstrap_servers (or kafka), and not both")
        self._new_producer = new_producer or (
            kafka_producers(kafka or _options_of(bootstrap_servers), topic=topic)
            if gateway is None
            else gateway_producers(gateway, source=source, clock=self._clock)
        )
        self._now_ms = self._clock.now_ms
        self._encoder = EventEncoder(usage_fields)
        self._encode = self._encoder.encode
        self._on_rejected = on_rejected
        self._refusals = RefusalLog(source, self._clock)
        self._metrics = None if registry is None else metrics_on(registry)
        self._closed = False
        self._thread = self._new_thread()
        self._thread.start()
        self._put = self._thread.buffer.put
        _remember(self)

    def emit(
        self,
        *,
        customer: str,
        usage: GivenUsage,
        dimensions: Mapping[str, str] | None = None,
        event_id: str | None = None,
        time: datetime | str | None = None,
    ) -> bool:
        """Hand over one event; whether it was taken. Never raises, and never blocks unless `when_full` is "block".

        Why events are not taken is in the log, at most once a minute for each reason.

        `usage`: integers from 0 to 10^12 by field, as a mapping or an object with fields; a field that is None is absent.
        `time`: when it happened, a datetime with a zone or an RFC 3339 string; now, if not given.
        A time that is not given is never counted later than Kafka has the event, so that a clock that is ahead does no harm.
        `event_id` is needed only when the same event may be emitted twice, by this or another process.
        """
        try:
            if self._put(self._encode(customer, usage, dimensions, event_id, self._now_ms() if time is None else ~self._event_time(time))):
                return True
            self._refusals.dropped(self._thread.counts.dropped, is_closed=self._closed)
        except EventRejected as refusal:
            self._refuse(refusal, None, customer=customer, usage=usage, dimensions=dimensions, event_id=event_id, time=time)
        except Exception as error:  # a strange argument must not break the caller's request
            strange = EventRejected(Reason.WRONG_TYPE, "", f"{type(error).__name__}: {error}"[:200])
            self._refuse(strange, error, customer=customer, usage=usage, dimensions=dimensions, event_id=event_id, time=time)
        return False

    def stats(self) -> EmitterStats:
        """Where the events are."""
        thread = self._thread
        sender, unsent = thread.sender, thread.unsent
        return EmitterStats(
            counts=thread.counted(),
            emitter=thread.emitter,
            connected=sender is not None and sender.connected,
            last_error="" if sender is None else sender.last_error,
            buffered_events=0 if thread.has_ended else thread.buffer.events_held,
            memory_bytes=0 if thread.has_ended else thread.buffer.bytes_held + thread.buffer.behind,
            spooled_events=0 if unsent is None else unsent.spooled_events,
            spool_bytes=0 if unsent is None else unsent.spool_bytes,
            spools_left=0 if unsent is None else unsent.spools_left,
            spools_unreadable=0 if unsent is None else unsent.spools_unreadable,
        )

    def close(self, seconds: float = CLOSE_SECONDS) -> EmitterStats:
        """Take no more events; send all, tell Kafka how many there were, or leave them in the spool. Blocks about this many seconds at most.

        The second call only reports. `counts.lost` says how many events neither Kafka nor the disk has.
        """
        if not self._closed:
            self._closed = True
            self._thread.close(seconds)
            _EMITTERS.discard(self)
        return self.stats()

    async def aclose(self, seconds: float = CLOSE_SECONDS) -> EmitterStats:
        """`close` for async code: the event loop goes on meanwhile."""
        return await asyncio.to_thread(self.close, seconds)

    def __enter__(self) -> "Emitter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def __aenter__(self) -> "Emitter":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    def __reduce__(self) -> "tuple[Callable[[str, dict[str, Any]], Emitter], tuple[str, dict[str, Any]]]":
        return _rebuilt, (self._token, self._arguments)

    def _new_thread(self) -> EmitterThread:
        return EmitterThread(self._options, new_producer=self._new_producer, on_turn=self._tell, clock=self._clock)

    def _tell(self) -> None:
        counts = self._thread.counts
        not_carried = self._encoder.not_carried
        for name in tuple(not_carried):
            counts.note_unknown_usage({name: not_carried.pop(name, 0)})
        if counts.unknown_usage:
            self._refusals.unknown_usage(counts.unknown_usage)
        if self._metrics is not None:
            stats = self.stats()
            self._metrics.update(
                stats.counts,
                connected=stats.connected,
                buffered_bytes=stats.memory_bytes,
                spool_bytes=stats.spool_bytes,
                spools_left=stats.spools_left,
                spools_unreadable=stats.spools_unreadable,
            )

    def _event_time(self, time: datetime | str) -> int:
        if isinstance(time, datetime) and time.tzinfo is None:
            raise EventRejected(Reason.BAD_TIME, "time", "a datetime without a zone; use datetime.now(timezone.utc)")
        time_ms = parse_time(time.astimezone(timezone.utc).isoformat() if isinstance(time, datetime) else time, "time")
        check_not_in_future(time_ms, self._clock.now_ms())
        return time_ms

    def _refuse(self, refusal: EventRejected, error: Exception | None, **arguments: Any) -> None:
        thread = self._thread
        total = thread.buffer.reject(refusal.reason)
        if error is None:
            self._refusals.refused(refusal, total)
        else:
            self._refusals.not_readable(error, arguments, refusal.reason, total)
        if self._on_rejected is not None:
            try:
                self._on_rejected(refusal, arguments)
            except Exception:  # the callback's fault must not break the caller's request either
                thread.counts.callback_failures += 1

    def _become_child(self) -> None:
        _INHERITED.append(self._thread)
        self._thread.abandon_to_parent()
        self._thread = self._new_thread()
        # The thread is started when the child emits, which most children never do.
        self._put = self._start_and_put

    def _start_and_put(self, event: Event) -> bool:
        self._thread.start()
        _close_with_child()
        self._put = self._thread.buffer.put
        return self._put(event)


def _gateway_of(url: str | None, api_key: str | None, gateway: GatewayOptions | None) -> GatewayOptions:
    if gateway is not None or url is None:
        raise ValueError("give url, with api_key if the gateway asks for one; or gateway, which has both")
    return GatewayOptions(url=url, api_key=api_key)


def _options_of(bootstrap_servers: str | Sequence[str]) -> KafkaOptions:
    servers = bootstrap_servers.split(",") if isinstance(bootstrap_servers, str) else bootstrap_servers
    return KafkaOptions(bootstrap_servers=tuple(server.strip() for server in servers))


def _rebuilt(token: str, arguments: dict[str, Any]) -> Emitter:
    """What a pickle becomes: the emitter of this process that it stands for, made when it comes for the first time."""
    known = _BY_TOKEN.get(token)
    if known is not None and known in _EMITTERS:
        return known
    emitter = Emitter(**arguments)
    emitter._token = token  # noqa: SLF001  # same module
    _BY_TOKEN[token] = emitter
    return emitter


def _remember(emitter: Emitter) -> None:
    _watch_process()
    _close_with_child()
    _EMITTERS.add(emitter)
    _BY_TOKEN[emitter._token] = emitter  # noqa: SLF001  # same module


@cache
def _watch_process() -> None:
    """Once: close at exit, start again after a fork."""
    atexit.register(_close_all)
    os.register_at_fork(after_in_child=_after_fork)


def _close_with_child() -> None:
    """Children of multiprocessing end by os._exit, past atexit, but run finalisers of their own before."""
    process, util = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None and _FINALISED.get("process") != os.getpid():
        _FINALISED["process"] = os.getpid()
        util.Finalize(None, _close_all, exitpriority=_AFTER_ALL_OTHERS)


def _close_all() -> None:
    for emitter in list(_EMITTERS):
        emitter.close()


def _after_fork() -> None:
    for emitter in list(_EMITTERS):
        emitter._become_child()  # noqa: SLF001  # same module
