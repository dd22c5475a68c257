"""Emit one event for each line of a CSV file `id,customer,input_tokens,output_tokens`: python emit_usage.py usage.csv localhost:9092 [topic]

Each event has an id, so the script may be run twice on the same file: what Kafka has already counts once.
"""

import csv
import sys
from pathlib import Path

from taximeter_emitter import Emitter


def main(path: str, bootstrap_servers: str, topic: str = "usage.events") -> int:
    """Emit all; the exit code says whether all arrived."""
    emitter = Emitter(bootstrap_servers=bootstrap_servers, topic=topic, source="examples/script", when_full="block")
    with Path(path).open(newline="") as file:
        refused = 0
        for row in csv.DictReader(file):
            usage = {name: int(row[name]) for name in ("input_tokens", "output_tokens")}
            refused += not emitter.emit(customer=row["customer"], usage=usage, event_id=row["id"])
    stats = emitter.close(seconds=60)
    print(f"sent {stats.counts.sent}, refused {refused}, lost {stats.counts.lost}")
    return 1 if refused or stats.counts.lost else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
