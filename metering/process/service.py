"""Start, supervise and stop one service process.

Logs come first, then the admin port, then the service's main. SIGTERM, SIGINT or the end of main asks everything to stop. Everything drains
under a deadline; the admin port closes last. A SIGINT after that exits at once.

Tasks are asked to stop through `ServiceContext.stop`, and return when they are done. They are cancelled only if another task crashes or the
deadline passes. A cancelled task is not drained, so whatever it holds must be safe to lose.
"""

import asyncio
import functools
import gc
import importlib.metadata
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TextIO

from prometheus_client import CollectorRegistry, disable_created_metrics
from taximeter_emitter.clock import Clock, SystemClock

from metering.configuration.secrets import Redactor, Secret
from metering.configuration.settings import option
from metering.process.admin import AdminServer
from metering.process.descriptors import DescriptorWatch
from metering.process.health import Health
from metering.process.listener import CannotListen, ListenAddress
from metering.process.logs import Log, RateLimited, get_log, logging_to
from metering.process.metrics import CommonMetrics
from metering.process.status_page import StatusPage
from metering.process.supervision import RefusedToStart, Supervisor, Work

try:
    import uvloop

    fast_event_loop: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
except ImportError:
    # Not available on this platform. The standard loop does the same, 5-10 % slower when producing.
    fast_event_loop = asyncio.new_event_loop

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
EXIT_REFUSED: Final = 4
EXIT_INTERRUPTED: Final = 130

HEARTBEAT_SECONDS: Final = 0.5
MAIN_CANCEL_SECONDS: Final = 2.0
LOOP_CLOSE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSettings:
    """Options of every service process: section `service`."""

    admin_host: str = option(doc="Address of the admin port (metrics and probes); in a container usually 0.0.0.0.", default="127.0.0.1")
    admin_port: int = option(doc="Admin port; 0 takes a free one, which is logged.", default=0, minimum=0, maximum=65535)
    admin_port_file: Path | None = option(doc="File to write the admin port's number into, for the program that started the process.", default=None)
    drain_seconds: float = option(
        doc="How long a stopping service may take to finish what it has; keep the orchestrator's grace period above it.",
        default=25.0,
        unit="seconds",
        minimum=0,
        maximum=3600,
    )
    log_level: str = option(doc="Least severe level that is logged.", default="info", choices=("debug", "info", "warning", "error"))
    log_style: str = option(
        doc="Form of the log on stderr; auto is text on a terminal and JSON elsewhere.", default="auto", choices=("auto", "json", "text")
    )
    commit: str = option(doc="Source commit shown in taximeter_build_info; the image build sets it.", default="unknown")


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """Everything that the runner gives to the main of a service."""

    name: str
    clock: Clock
    registry: CollectorRegistry
    metrics: CommonMetrics
    health: Health
    log: Log
    supervisor: Supervisor
    status: StatusPage

    @property
    def stop(self) -> asyncio.Event:
        """Set once everything has to drain."""
        return self.supervisor.stop

    def request_stop(self, reason: str) -> None:
        """Ask everything to drain. The service is not ready from now on. Only the first reason counts."""
        self.supervisor.request_stop(reason)

    def spawn(self, name: str, work: Work, *, background: bool = False) -> asyncio.Task[None]:
        """Run a named task beside main. If it raises, everything is cancelled and the process exits with a failure.

        The task has to return soon after `stop` is set; the service waits for it. A `background` task may run forever: it is cancelled
        once main and all other tasks have returned. Raises RuntimeError while everything is ending.
        """
        return self.supervisor.spawn(name, work, background=background)


Main = Callable[[ServiceContext], Work]


def run_service(
    main: Main,
    *,
    name: str,
    settings: ServiceSettings,
    secrets: Iterable[Secret] = (),
    clock: Clock | None = None,
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    stream: TextIO | None = None,
) -> int:
    """Run one service until it stops; returns the exit code. Blocks. Call it from the main thread, which gets the signals.

    `new_event_loop`: `fast_event_loop` (uvloop) suits the gateway. Consumers need the standard loop. It logs a write to a connection that has
    just closed, while uvloop raises RuntimeError, which ends aiokafka's background tasks.

    Exit codes: 0 drained; 1 a task crashed, or the drain deadline passed; 4 `RefusedToStart`; 130 after SIGINT while draining.
    `main` calls `context.health.mark_started()` once it can do its work. It returns after `context.stop` is set and it has drained.
    """
    clock = clock or SystemClock()
    registry = CollectorRegistry()
    # They would double every counter and histogram to say when it began; process_start_time_seconds says that once.
    disable_created_metrics()  # type: ignore[no-untyped-call] # the library left this one function without types
    metrics = CommonMetrics.create(registry, service=name, version=installed_version(), commit=settings.commit)
    redactor = Redactor(secrets)
    with (
        logging_to(
            stream,
            service=name,
            level=settings.log_level,
            style=settings.log_style,
            redactor=redactor,
            count=lambda level: metrics.log_messages.labels(level).inc(),
        ),
        _gc_tuned(),
    ):
        runner = asyncio.Runner(loop_factory=new_event_loop)
        try:
            return runner.run(_serve(main, name=name, settings=settings, clock=clock, registry=registry, metrics=metrics))
        finally:
            with _exit_anyway_after(LOOP_CLOSE_SECONDS, get_log(name)):
                runner.close()


async def _serve(main: Main, *, name: str, settings: ServiceSettings, clock: Clock, registry: CollectorRegistry, metrics: CommonMetrics) -> int:
    log = get_log(name)
    health, status = Health(clock), StatusPage()
    address = ListenAddress(host=settings.admin_host, port=settings.admin_port, port_file=settings.admin_port_file)
    descriptors = DescriptorWatch(log, RateLimited(clock), count=metrics.without_descriptors.inc)
    health.require("descriptors", descriptors.problem)
    admin = AdminServer(address, registry=registry, health=health, status=status)
    try:
        await admin.start()
    except CannotListen as error:
        descriptors.close()
        log.error("the admin port cannot be opened", host=settings.admin_host, port=settings.admin_port, reason=str(error))
        return EXIT_FAILED
    heartbeat = asyncio.create_task(_heartbeat(clock, health, metrics), name="heartbeat")
    log.info("started", version=installed_version(), commit=settings.commit, admin=f"http://{settings.admin_host}:{admin.port}")
    try:
        supervisor = Supervisor(log, on_stop=health.mark_stopping)
        context = ServiceContext(name, clock, registry, metrics, health, log, supervisor, status)
        with _signals_stop(supervisor, log):
            code = await _supervise(main, context, settings.drain_seconds)
        log.info("stopped", exit_code=code)
        return code
    finally:
        heartbeat.cancel()
        await asyncio.wait({heartbeat})
        await admin.stop()
        descriptors.close()


async def _supervise(main: Main, context: ServiceContext, drain_seconds: float) -> int:
    """Wait until main and its tasks have ended, or the drain deadline has passed; returns the exit code."""
    service = asyncio.create_task(_exit_code(context.supervisor, main(context)), name="service")
    stopping = asyncio.create_task(context.stop.wait(), name="stopping")
    await asyncio.wait({service, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    asked = context.clock.monotonic()
    await asyncio.wait({service, stopping}, timeout=drain_seconds)
    if service.done():
        context.log.info("ended", drain_seconds=round(context.clock.monotonic() - asked, 3))
        return service.result()
    context.log.error("not drained in time", drain_seconds=drain_seconds, left=", ".join(context.supervisor.running()))
    service.cancel()
    await asyncio.wait({service}, timeout=MAIN_CANCEL_SECONDS)
    return EXIT_FAILED


async def _exit_code(supervisor: Supervisor, main: Work) -> int:
    code = EXIT_OK
    try:
        await supervisor.run(main)
    except* RefusedToStart:
        code = EXIT_REFUSED
    except* Exception:
        # The task that raised it has logged it.
        code = EXIT_FAILED
    return code


async def _heartbeat(clock: Clock, health: Health, metrics: CommonMetrics) -> None:
    """Prove that the event loop runs, and measure its delay."""
    while True:
        asked = clock.monotonic()
        await clock.sleep(HEARTBEAT_SECONDS)
        metrics.loop_lag.observe(max(0.0, clock.monotonic() - asked - HEARTBEAT_SECONDS))
        metrics.ready.set(health.readiness().ok)
        health.beat()


@contextmanager
def _signals_stop(supervisor: Supervisor, log: Log) -> Iterator[None]:
    """The first SIGTERM or SIGINT asks everything to stop. A SIGINT after it exits at once; another SIGTERM changes nothing.

    Programs send SIGTERM, some of them twice, and SIGKILL if they mean it. SIGHUP asks the service to read its files again.
    """
    loop = asyncio.get_running_loop()
    asked = False

    def received(name: str) -> None:
        nonlocal asked
        if asked and name == signal.SIGTERM.name:
            log.info("still draining", reason=name, left=", ".join(supervisor.running()))
            return
        if asked:
            log.warning("exiting at once", reason=name, left=", ".join(supervisor.running()))
            os._exit(EXIT_INTERRUPTED)
        asked = True
        supervisor.request_stop(name)

    def reload() -> None:
        log.info("asked to read files again", reason=signal.SIGHUP.name)
        supervisor.reload.set()

    signals = (signal.SIGTERM, signal.SIGINT)
    loop.add_signal_handler(signal.SIGHUP, reload)
    for number in signals:
        loop.add_signal_handler(number, received, number.name)
    try:
        yield
    finally:
        for number in (*signals, signal.SIGHUP):
            loop.remove_signal_handler(number)


@contextmanager
def _gc_tuned() -> Iterator[None]:
    """Collect the oldest generation rarely: the deduplication index has millions of long-lived objects without cycles.

    Measured on one million events: 3.69 CPU-seconds with the default thresholds, 2.72 with these.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 1_000)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextmanager
def _exit_anyway_after(seconds: float, log: Log) -> Iterator[None]:
    """Limit the close of the loop, which otherwise waits forever for threads and for tasks that ignore cancellation."""

    def leave() -> None:
        log.error("exiting although threads or tasks do not end", seconds=seconds)
        os._exit(EXIT_FAILED)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@functools.cache
def installed_version() -> str:
    """Of Taximeter, as the package says."""
    try:
        return importlib.metadata.version("taximeter")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
