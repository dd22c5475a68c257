"""A host whose SDK processes live a second each, and of which some are killed. `python -m tests.chaos.loads.lives ORDER`.

With ids, the host sends again what a killed life had taken, as a job does that is started again; so every event must be billed once. Every few lives
have no ids: each has a customer of its own, and what it emitted, and what it had said to be safe when it ended, are written down beside the journal.
All share one spool directory, and none lives long enough to be the one that empties it.
"""

import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import orjson
from taximeter_emitter import Emitter
from taximeter_emitter.clock import SystemClock
from taximeter_sandbox.demo.load.journal import Journal
from taximeter_sandbox.demo.load.load_orders import LoadOrder, LoadProgress, Timetable, write_progress
from taximeter_sandbox.demo.load.workload import Emission, Times, Workload, document_of

BATCH: Final = 40
WITHOUT_IDS_EVERY: Final = 4
KILLED: Final = 0.4
KILL_SECONDS: Final = (0.3, 2.5)
CLOSE_SECONDS: Final = 1.5
LIFE_SECONDS: Final = 60.0
SPOOL_SECONDS: Final = 600.0
NO_IDS_CUSTOMERS: Final = 400
UNNUMBERED_SUFFIX: Final = ".without-ids.jsonl"


def customers_without_ids(name: str) -> list[str]:
    """Those that only lives without ids of this host emit for, one a life."""
    return [f"cus_{name.replace('-', '_')}_{number:04d}" for number in range(NO_IDS_CUSTOMERS)]


@dataclass(slots=True)
class Host:
    """`ended` and `killed`: how many lives."""

    order: LoadOrder
    folder: Path
    random: Random
    lives: int = 0
    killed: int = 0

    def emit(self, events: Sequence[dict[str, Any]], *, may_be_killed: bool) -> tuple[bool, int, int]:
        """One life with these events: whether it closed without a loss; how many it had emitted, and said to be safe, when it ended."""
        self.lives += 1
        spec, said = self.folder / f"life-{self.lives}.json", self.folder / f"life-{self.lives}.said"
        order = self.order
        spec.write_bytes(
            orjson.dumps(
                {
                    "bootstrap_servers": order.bootstrap_servers,
                    "topic": f"{order.topic_prefix}.events",
                    "source": order.source,
                    "spool": str(order.spool),
                    "close_seconds": CLOSE_SECONDS,
                    "said": str(said),
                    "events": events,
                }
            )
        )
        with subprocess.Popen([sys.executable, "-m", "tests.chaos.loads.emitting_life", str(spec)]) as process:
            try:
                doomed = may_be_killed and self.random.random() < KILLED
                process.wait(self.random.uniform(*KILL_SECONDS) if doomed else LIFE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                self.killed += 1
        found: dict[str, int] = orjson.loads(said.read_bytes()) if said.exists() else {"emitted": 0, "safe": 0, "lost": 0, "closed": False}
        spec.unlink()
        said.unlink(missing_ok=True)
        return bool(found["closed"] and not found["lost"]), found["emitted"], found["safe"]


def run(order: LoadOrder) -> int:
    """Emit everything, whatever dies; then empty the spool as one life that lasts."""
    workload = Workload(order.name, seed=order.seed, customers=order.customers, mix=order.mix)
    clock, times, timetable = SystemClock(), Times(), Timetable(order.events, order.seconds)
    folder = order.journal.with_suffix(".lives")
    folder.mkdir(exist_ok=True)
    host = Host(order, folder, Random(order.seed))
    without_ids = iter(customers_without_ids(order.name))
    emitted = again = 0
    with Journal(order.journal) as journal, order.journal.with_name(order.name + UNNUMBERED_SUFFIX).open("ab", buffering=0) as unnumbered:
        while emitted < order.events:
            emissions = workload.take(BATCH, clock.now_ms())
            number = journal.sending(emissions)
            resent = 0
            while not host.emit([_event(emission, order.source, times) for emission in emissions], may_be_killed=True)[0]:
                resent += 1
            journal.told(number, resent=resent)
            emitted += BATCH
            again += BATCH * resent
            if host.lives % WITHOUT_IDS_EVERY == 0 and (customer := next(without_ids, None)) is not None:
                event = {"customer": customer, "usage": {"input_tokens": 1}, "dimensions": {"model": "alpaca-7b"}}
                clean, _, safe = host.emit([event] * BATCH, may_be_killed=True)
                line = {"customer": customer, "emitted": BATCH, "safe": BATCH if clean else safe}
                unnumbered.write(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
            write_progress(order.progress, LoadProgress(emitted=emitted, resent=again))
            time.sleep(timetable.delay(emitted))
    failure = _empty_spool(order)
    print(f"{host.lives} lives, {host.killed} of them killed", flush=True)
    write_progress(order.progress, LoadProgress(emitted=emitted, resent=host.killed, done=True, failure=failure))
    return 1 if failure else 0


def _holds_events(path: Path) -> bool:
    """Whether a spool has anything to send. A life that was killed while it made its file leaves one without tables, and nothing was in it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            return any(connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in {"batches", "unplaced"} & tables)
    except sqlite3.Error:
        return True  # in use, or just removed: look again


def _event(emission: Emission, source: str, times: Times) -> dict[str, Any]:
    document = document_of(emission, source, times)
    named = {name: document[name] for name in ("customer", "usage", "dimensions", "time")}
    return {**named, "event_id": document["id"]}


def _empty_spool(order: LoadOrder) -> str:
    assert order.spool is not None
    deadline = time.monotonic() + SPOOL_SECONDS
    with Emitter(
        source=order.source, bootstrap_servers=order.bootstrap_servers.split(","), topic=f"{order.topic_prefix}.events", spool_dir=order.spool
    ) as emitter:
        while any(map(_holds_events, order.spool.glob("*.spool"))):
            if time.monotonic() > deadline:
                return f"{order.spool} was not emptied within {SPOOL_SECONDS:.0f} s: {emitter.stats()}"
            time.sleep(0.5)
    return ""


if __name__ == "__main__":
    sys.exit(run(LoadOrder.read(Path(sys.argv[1]))))
