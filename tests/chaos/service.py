"""A service with two weak spots: it may kill itself at a named point, and its clock may be moved. `python -m tests.chaos.service MODULE ARGS...`.

`CHAOS_KILL_AT=reporter.intent.after:3` ends the process, as SIGKILL would, at the third passage of that point. `CHAOS_CLOCK_FILE` names a file with
a number of milliseconds by which the clock is off; it may change at any time.
"""

import os
import runpy
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import orjson
from taximeter_emitter.clock import SystemClock

from metering.kafka.partition_log import Appender

KILLED: Final = 137
POINTS: Final = {
    "gateway": ("gateway.produce.before", "gateway.produce.after", "gateway.acknowledged.before", "gateway.acknowledged.after"),
    "aggregator": ("aggregator.tally.before", "aggregator.tally.after", "aggregator.events.after", "aggregator.deadletters.after"),
    "reporter": (
        "reporter.intent.before",
        "reporter.intent.after",
        "reporter.stripe.before",
        "reporter.stripe.after",
        "reporter.receipt.before",
        "reporter.receipt.after",
    ),
}
_CLOCK_POLL_SECONDS: Final = 0.2


class KillPoint:
    """Ends the process at the n-th passage of one point."""

    def __init__(self, text: str) -> None:
        self._name, _, times = text.partition(":")
        self._left = int(times or 1)
        self.passed: Counter[str] = Counter()

    def pass_by(self, name: str) -> None:
        """The process is here."""
        self.passed[name] += 1
        if name == self._name:
            self._left -= 1
            if self._left <= 0:
                os._exit(KILLED)


def _replace(owner: type, name: str, method: Callable[..., Any]) -> None:
    setattr(owner, name, method)


def _around(point: KillPoint, method: Callable[..., Awaitable[Any]], name_of: Callable[..., str]) -> Callable[..., Awaitable[Any]]:
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        name = name_of(*arguments, **named)
        point.pass_by(f"{name}.before")
        result = await method(*arguments, **named)
        point.pass_by(f"{name}.after")
        return result

    return wrapped


def _append_name(service: str, _appender: Appender, topic: str, _partition: int, value: bytes, **_: Any) -> str:
    kind = topic.rpartition(".")[2]
    if kind == "ledger":
        return f"{service}.{orjson.loads(value)['format'].partition('/')[0]}"
    return f"{service}.{'tally' if kind == 'tallies' else kind}"


def _install_kill_point(service: str, text: str) -> None:
    point = KillPoint(text)
    if service == "ingest":
        from taximeter_emitter.transports.kafka_producer import KafkaProducer

        from ingest.publishing.publisher import Publisher

        _replace(KafkaProducer, "append", _around(point, KafkaProducer.append, lambda *_, **__: "gateway.produce"))
        acknowledged = Publisher._acknowledged

        def passing(*arguments: Any) -> None:
            point.pass_by("gateway.acknowledged.before")
            acknowledged(*arguments)
            point.pass_by("gateway.acknowledged.after")

        _replace(Publisher, "_acknowledged", passing)
        return
    _replace(Appender, "append", _around(point, Appender.append, lambda *given, **named: _append_name(service, *given, **named)))
    if service == "reporter":
        from reporter.stripe.meter_events_v1 import StripeMeterEvents

        _replace(StripeMeterEvents, "send", _around(point, StripeMeterEvents.send, lambda *_, **__: "reporter.stripe"))


def _install_clock(path: Path) -> None:
    offset_ms = 0
    true_ms = SystemClock.now_ms

    def follow() -> None:
        nonlocal offset_ms
        while True:
            try:
                offset_ms = int(path.read_text() or 0)
            except (OSError, ValueError):
                offset_ms = 0
            time.sleep(_CLOCK_POLL_SECONDS)

    _replace(SystemClock, "now_ms", lambda self: true_ms(self) + offset_ms)
    threading.Thread(target=follow, daemon=True).start()


def main() -> None:
    """Weaken the process, then run the module as `python -m` would."""
    module = sys.argv[1]
    del sys.argv[0]
    if os.environ.get("CHAOS_KILL_AT"):
        _install_kill_point(module, os.environ["CHAOS_KILL_AT"])
    if os.environ.get("CHAOS_CLOCK_FILE"):
        _install_clock(Path(os.environ["CHAOS_CLOCK_FILE"]))
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
