"""Load through the SDK: a process like a model server that emits each event as it happens. `python -m` this module with an ORDER."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from taximeter_emitter import Emitter, EmitterStats
from taximeter_emitter.clock import SystemClock

from metering.kafka.clients import KafkaSettings
from taximeter_sandbox.demo.load.journal import Journal
from taximeter_sandbox.demo.load.load_orders import LoadOrder, LoadProgress, Timetable, write_progress
from taximeter_sandbox.demo.load.workload import Times, Workload, document_of, in_batches
from taximeter_sandbox.demo.plan import METERS

BATCH: Final = 500
CLOSE_SECONDS: Final = 30.0
SPOOL_SECONDS: Final = 900.0
POLL_SECONDS: Final = 0.2


def run(order: LoadOrder) -> int:
    """Emit everything, close in order, and empty the spool; exit code 0 only if every accepted event reached Kafka."""
    workload = Workload(order.name, seed=order.seed, customers=order.customers, mix=order.mix)
    clock, times, timetable = SystemClock(), Times(), Timetable(order.events, order.seconds)
    fields = frozenset(field for summed in METERS.values() for field in summed)
    kafka = KafkaSettings(bootstrap_servers=tuple(order.bootstrap_servers.split(",")), topic_prefix=order.topic_prefix, partitions=order.partitions)
    emitted = 0

    def new_emitter() -> Emitter:
        return Emitter(
            source=order.source,
            kafka=kafka.options(),
            topic=kafka.topics.events.name,
            spool_dir=order.spool,
            when_full="block",
            usage_fields=fields,
        )

    emitter = new_emitter()
    with Journal(order.journal) as journal:
        for size in in_batches(order.events, BATCH):
            emissions = workload.take(size, clock.now_ms())
            number = journal.sending(emissions)
            refused = []
            for position, emission in enumerate(emissions):
                document = document_of(emission, order.source, times)
                taken = emitter.emit(
                    customer=document["customer"],
                    usage=document["usage"],
                    dimensions=document["dimensions"],
                    event_id=document["id"],
                    time=document["time"],
                )
                if not taken:
                    refused.append(position)
            journal.told(number, refused=refused)
            emitted += size
            if timetable.is_time_to_tell():
                write_progress(order.progress, _progress(emitted, emitter.stats()))
            time.sleep(timetable.delay(emitted))
        stats = emitter.close(CLOSE_SECONDS)
    failure = f"{stats.counts.lost} events were lost: {stats.last_error}" if stats.counts.lost else _empty_spool(order.spool, new_emitter)
    write_progress(order.progress, LoadProgress(emitted=emitted, resent=stats.counts.batches_retried, done=True, failure=failure))
    return 1 if failure else 0


def _empty_spool(spool: Path | None, new_emitter: Callable[[], Emitter]) -> str:
    """As a service that starts again would: an emitter sends what the one before left on the disk. What is wrong in the end, if anything.

    Blocks for some minutes at most, while Kafka is away.
    """
    deadline = time.monotonic() + SPOOL_SECONDS
    while spool is not None and any(spool.glob("*.spool")):
        if time.monotonic() > deadline:
            return f"{spool} was not emptied within {SPOOL_SECONDS:.0f} s"
        with new_emitter() as emitter:
            # It adopts what it finds as soon as it reaches Kafka, and then has a spool to send until that is empty.
            while any(spool.glob("*.spool")) and time.monotonic() < deadline:
                if emitter.stats().counts.adopted and not emitter.stats().spooled_events:
                    break
                time.sleep(POLL_SECONDS)
    return ""


def _progress(emitted: int, stats: EmitterStats) -> LoadProgress:
    return LoadProgress(emitted=emitted, waiting=stats.buffered_events + stats.spooled_events, resent=stats.counts.batches_retried)


if __name__ == "__main__":
    sys.exit(run(LoadOrder.read(Path(sys.argv[1]))))
