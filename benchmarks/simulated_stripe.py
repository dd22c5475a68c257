"""The Stripe simulator as a process, without its limits: what the reporter costs is measured against it, and its books are compared."""

import os
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path as Folder
from typing import Any, Final, Self

import orjson
from taximeter_sandbox.brokers.child_process import ChildProcess

from benchmarks.tally_load import METER
from benchmarks.watched import ProcessFailed

KEY: Final = "sk_test_benchmarks"
START_SECONDS: Final = 60.0
CALL_SECONDS: Final = 60.0
CUSTOMERS_AT_ONCE: Final = 10_000
# About what a call over a continent takes; a lane waits for it, so a large number of lanes must be in use.
LATENCY: Final = {"distribution": "lognormal", "median_ms": 50, "p99_ms": 200}
SETTINGS: Final[Mapping[str, Any]] = {
    "limits": {"meter_events_per_second": 0, "stream_events_per_second": 0, "global_per_second": 0, "endpoint_per_second": 0},
    "latency": {"meter_events.create": LATENCY, "v2.meter_event_stream.create": LATENCY},
    "processing": {"lag_min_ms": 0, "lag_max_ms": 0},
}


class SimulatedStripe(AbstractContextManager["SimulatedStripe"]):
    """From its start to the end of the block. `refused_share` of the meter events by version 1 get a 429, at random.

    Every call blocks, for CALL_SECONDS at most, and raises OSError (urllib's errors among them).
    """

    def __init__(self, folder: Folder, customers: Sequence[str], *, refused_share: float = 0.0) -> None:
        self._port_file = folder / "stripe.port"
        self._customers = customers
        config = folder / "stripe.json"
        config.write_bytes(orjson.dumps({**SETTINGS, "faults": {"meter_events.create": [{"kind": "rate_limited", "probability": refused_share}]}}))
        command = [sys.executable, "-m", "taximeter_sandbox.stripe", "--port-file", str(self._port_file), "--config", str(config)]
        self._process = ChildProcess(command, folder / "stripe.log", dict(os.environ))
        self.url = ""

    def __enter__(self) -> Self:
        deadline = time.monotonic() + START_SECONDS
        while not self._port_file.exists():
            if self._process.exit_code() is not None or time.monotonic() > deadline:
                self._process.kill()
                raise ProcessFailed(f"the Stripe simulator did not start:\n{self._process.log_tail()}")
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{int(self._port_file.read_text())}"
        meter = {"display_name": METER, "event_name": METER, "default_aggregation[formula]": "sum"}
        self._call("/v1/billing/meters", urllib.parse.urlencode(meter).encode())
        for start in range(0, len(self._customers), CUSTOMERS_AT_ONCE):
            self._call("/_control/customers", orjson.dumps({"ids": self._customers[start : start + CUSTOMERS_AT_ONCE]}))
        return self

    def __exit__(self, *exception: object) -> None:
        self._process.kill()

    def units(self) -> dict[str, int]:
        """What is on the books, by customer."""
        books = orjson.loads(self._call(f"/_oracle/books?event_name={METER}"))
        assert not books["events_pending"], "nothing lags"
        return {row["customer"]: int(row["total"]) for row in books["rows"]}

    def times(self) -> dict[str, list[int]]:
        """The timestamps (Unix seconds) of each customer's meter events, in the order in which they came."""
        found: dict[str, list[int]] = {}
        for line in self._call("/_oracle/events?format=ndjson").splitlines():
            event = orjson.loads(line)
            found.setdefault(event["customer"], []).append(event["timestamp"])
        return found

    def check(self, units: Mapping[str, int]) -> None:
        """Every unit is there once, and came in order. Raises AssertionError."""
        assert self.units() == dict(units), "Stripe's books are not what the tallies say"
        assert all(times == sorted(times) for times in self.times().values()), "a customer's meter events came out of order"

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        request = urllib.request.Request(self.url + path, data=body, headers={"Authorization": f"Bearer {KEY}"})  # noqa: S310  # our own address
        with urllib.request.urlopen(request, timeout=CALL_SECONDS) as answer:  # noqa: S310
            found: bytes = answer.read()
            return found
