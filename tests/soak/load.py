"""A steady load that remembers only sums: `python -m tests.soak.load ORDER`. It emits through the SDK, as a model server does."""

import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Final, Self

import orjson
from taximeter_emitter import Emitter

from metering.kafka.clients import KafkaSettings

SLICE_SECONDS: Final = 0.02
CLOSE_SECONDS: Final = 60.0
MODELS: Final = ("alpaca-7b", "alpaca-70b")


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOrder:
    """What one load process has to do. `events_per_second` for `seconds`; every id_every-th event has an id of its own."""

    name: str
    bootstrap_servers: str
    topic_prefix: str
    partitions: int
    customers: list[str]
    events_per_second: int
    seconds: float
    id_every: int
    seed: int
    sums: str

    def write(self, path: Path) -> None:
        """As JSON, for the process to read."""
        path.write_bytes(orjson.dumps(asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises OSError, TypeError."""
        return cls(**orjson.loads(path.read_bytes()))


def run(order: SoakOrder) -> int:
    """Emit until the time is over, close in order, and write the sums. Exit code 0 only if every event reached Kafka."""
    random = Random(f"{order.seed}:{order.name}")
    kafka = KafkaSettings(bootstrap_servers=tuple(order.bootstrap_servers.split(",")), topic_prefix=order.topic_prefix, partitions=order.partitions)
    emitter = Emitter(source=f"soak/{order.name}", kafka=kafka.options(), topic=kafka.topics.events.name, when_full="block")
    sums: Counter[str] = Counter()
    emitted = 0
    began = time.monotonic()
    while (passed := time.monotonic() - began) < order.seconds:
        # What is late is made up for in slices: a machine that cannot keep the pace must still end in time.
        due = min(passed * order.events_per_second, emitted + order.events_per_second)
        while emitted < due:
            customer = order.customers[int(random.random() ** 2 * len(order.customers))]
            tokens_in, tokens_out = int(random.random() * 2000) + 1, int(random.random() * 500)
            event_id = f"{order.name}-{emitted}" if emitted % order.id_every == 0 else None
            dimensions = {"model": MODELS[emitted & 1]}
            assert emitter.emit(
                customer=customer, usage={"input_tokens": tokens_in, "output_tokens": tokens_out}, dimensions=dimensions, event_id=event_id
            )
            sums[customer] += tokens_in + tokens_out
            emitted += 1
        time.sleep(SLICE_SECONDS)
    stats = emitter.close(CLOSE_SECONDS)
    left = stats.counts.emitted - stats.counts.sent
    Path(order.sums).write_bytes(orjson.dumps({"emitted": emitted, "left": left, "units": sums}))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(run(SoakOrder.read(Path(sys.argv[1]))))
