"""One short life of a process that emits: `python -m tests.chaos.loads.emitting_life SPEC`. It may be killed at any moment.

The spec is JSON: `bootstrap_servers`, `topic`, `source`, `spool`, `close_seconds`, `said` (a file) and `events`, each an emitter's arguments. What
Kafka has of it is written to `said` again and again: `{"emitted", "safe", "lost", "closed"}`.
"""

import sys
import time
from pathlib import Path
from typing import Any, Final

import orjson
from taximeter_emitter import Emitter, EmitterStats

from metering.process.atomic_files import write_atomically

SAY_EVERY: Final = 5
PAUSE_SECONDS: Final = 0.01


def main(spec: dict[str, Any]) -> int:
    """Exit code 1 if the emitter says that something was lost."""
    said = Path(spec["said"])
    emitter = Emitter(
        source=spec["source"],
        bootstrap_servers=spec["bootstrap_servers"].split(","),
        topic=spec["topic"],
        spool_dir=spec["spool"],
        when_full="block",
        linger_ms=20,
    )
    for number, event in enumerate(spec["events"]):
        emitter.emit(**event)
        if number % SAY_EVERY == 0:
            say(said, emitter.stats(), closed=False)
        time.sleep(PAUSE_SECONDS)
    stats = emitter.close(spec["close_seconds"])
    say(said, stats, closed=True)
    return 1 if stats.counts.lost else 0


def say(path: Path, stats: EmitterStats, *, closed: bool) -> None:
    counts = stats.counts
    # What is on disk may be another life's, which this one has adopted. So only what Kafka has acknowledged is known to be safe.
    write_atomically(path, orjson.dumps({"emitted": counts.emitted, "safe": counts.sent, "lost": counts.lost, "closed": closed}))


if __name__ == "__main__":
    sys.exit(main(orjson.loads(Path(sys.argv[1]).read_bytes())))
