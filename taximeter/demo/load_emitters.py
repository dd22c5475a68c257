"""Load through the SDK: a process like a model server that emits each event as it happens. `python -m taximeter.demo.load_emitters ORDER`."""

import sys
import time
from pathlib import Path
from typing import Final

from ingest.emitter import Emitter, EmitterStats
from metering.clock import SystemClock
from metering.kafka import KafkaSettings
from taximeter.demo.journal import Journal
from taximeter.demo.load import LoadOrder, LoadProgress, Timetable, write_progress
from taximeter.demo.plan import METERS
from taximeter.demo.workload import Times, Workload, document_of, in_batches

BATCH: Final = 500
CLOSE_SECONDS: Final = 60.0


def run(order: LoadOrder) -> int:
    """Emit everything and close in order; exit code 0 only if every accepted event reached Kafka."""
    workload = Workload(order.name, seed=order.seed, customers=order.customers, mix=order.mix)
    clock, times, timetable = SystemClock(), Times(), Timetable(order.events, order.seconds)
    fields = frozenset(field for summed in METERS.values() for field in summed)
    emitted = 0
    emitter = Emitter(
        source=order.source,
        kafka=KafkaSettings(bootstrap_servers=(order.bootstrap_servers,), topic_prefix=order.topic_prefix, partitions=order.partitions),
        spool_dir=order.spool,
        when_full="block",
        usage_fields=fields,
    )
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
    left = stats.counts.emitted - stats.counts.sent
    failure = f"{left} events did not reach Kafka: {stats.last_error}" if left else ""
    write_progress(order.progress, LoadProgress(emitted=emitted, resent=stats.counts.batches_retried, done=True, failure=failure))
    return 1 if failure else 0


def _progress(emitted: int, stats: EmitterStats) -> LoadProgress:
    return LoadProgress(emitted=emitted, waiting=stats.buffered_events + stats.spooled_events, resent=stats.counts.batches_retried)


if __name__ == "__main__":
    sys.exit(run(LoadOrder.read(Path(sys.argv[1]))))
