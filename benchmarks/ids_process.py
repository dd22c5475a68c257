"""The index of ids at its full size, alone in a process: `python -m benchmarks.ids_process FOLDER IDS`; prints what it saw as JSON.

The ids are random and their log times even over 24 hours, as with a partition that gets them all. They are taken in as the aggregator
does it (100,000 at a time), asked for as batches of 500 and of 20 would, written as a snapshot and restored, and at last rebuilt from records through
PartitionCounter.remember, as after a restart without a snapshot. CPU of making ids and records is left out.
"""

import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path as Folder
from typing import Final

import numpy as np
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.limits import DAY_MS

from aggregator.core.counting import PartitionCounter
from aggregator.core.counting_rules import CountingRules
from aggregator.ids.fingerprints import Fingerprints, asked, fingerprints_of
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_files import IdFiles, SnapshotRecord
from aggregator.ids.id_index import RECENT_IDS_MAX, span_ms
from benchmarks.tally_load import CATALOGUE
from metering.folds.catalogue_timeline import always
from metering.folds.tallies import Tallies
from metering.process.logs import get_log
from metering.records.record import Record

FINISHED: Final = '"rebuild_s"'
BATCH: Final = 500
ID_BYTES: Final = 16
ROUNDS: Final = 200


class Stopwatch:
    """CPU of this process between `go` and `stop`, summed; and the same of wall time."""

    def __init__(self) -> None:
        self.cpu_s = 0.0
        self.wall_s = 0.0
        self._began = (0.0, 0.0)

    def __enter__(self) -> None:
        self._began = (time.process_time(), time.monotonic())

    def __exit__(self, *_: object) -> None:
        self.cpu_s += time.process_time() - self._began[0]
        self.wall_s += time.monotonic() - self._began[1]


def measure(folder: Folder, ids: int) -> dict[str, float]:
    """Everything."""
    files = IdFiles(folder, get_log("ids"))
    archive = IdArchive(files.storage, span_ms=span_ms(DAY_MS))
    insert, last = Stopwatch(), random_ids(0)
    for start in range(0, ids, RECENT_IDS_MAX):
        last = random_ids(min(RECENT_IDS_MAX, ids - start))
        with insert:
            archive.add(last, np.full(len(last), start & 0xFFFF, np.uint64), start * DAY_MS // ids)
    found = {
        "insert_us": insert.cpu_s / ids * 1e6,
        "resident_bytes_per_id": archive.resident_bytes / ids,
        "disk_bytes_per_id": sum(path.stat().st_size for path in folder.iterdir()) / ids,
        "segments": float(len(archive.segments)),
        "new_500_us": time_of(archive, [random_ids(500) for _ in range(ROUNDS)], known=False),
        "new_20_us": time_of(archive, [random_ids(20) for _ in range(ROUNDS)], known=False),
        "known_500_us": time_of(archive, [last[start : start + 500] for start in range(0, min(len(last), ROUNDS * 500), 500)], known=True),
    }
    snapshot = SnapshotRecord(
        chain_id="ids", tally_offset=0, tally_digest="", events_end=0, known_since_ms=0, key=archive.key.hex(), segments=files.segments(archive)
    )
    files.write(snapshot, durable=True)
    files.close()
    del archive
    files = IdFiles(folder, get_log("ids"))
    archive, restore = IdArchive(files.storage, span_ms=span_ms(DAY_MS)), Stopwatch()
    with restore:
        left = files.read()
        assert left is not None
        assert files.restore(left, archive, 0)
    assert len(archive) == ids, "the snapshot has them all"
    files.clear()
    rebuild = rebuilt(IdArchive(files.storage, span_ms=span_ms(DAY_MS)), ids)
    files.close()
    return {
        **found,
        "restore_s": restore.wall_s,
        "restore_cpu_s": restore.cpu_s,
        "rebuild_cpu_s": rebuild.cpu_s,
        "rebuild_us": rebuild.cpu_s / ids * 1e6,
        "rebuild_s": rebuild.wall_s,
    }


def random_ids(count: int) -> Fingerprints:
    """Fingerprints."""
    return fingerprints_of(os.urandom(ID_BYTES * count))


def time_of(archive: IdArchive, questions: list[Fingerprints], *, known: bool) -> float:
    """Microseconds an id. Raises AssertionError for a wrong answer."""
    watch = Stopwatch()
    with watch:
        answers = [sum(map(len, archive.known(asked(question)))) for question in questions]
    assert answers == [len(question) * known for question in questions]
    return watch.cpu_s / sum(map(len, questions)) * 1e6


def rebuilt(archive: IdArchive, ids: int) -> Stopwatch:
    """Read records of this many ids again."""
    rules = CountingRules("ids", always(CATALOGUE), lambda _: 0, "ids", DAY_MS)
    counter, watch = PartitionCounter(0, rules, Tallies(log_time_ms=DAY_MS), archive), Stopwatch()
    for record in records_of(ids):
        with watch:
            counter.remember([record])
    with watch:
        counter.remembered()
    assert len(counter.ids) == ids, "every id is known again"
    return watch


def records_of(ids: int) -> Iterator[Record]:
    """Batches of 500 events with random ids, as an emitter writes them."""
    for number, start in enumerate(range(0, ids, BATCH)):
        count = min(BATCH, ids - start)
        batch = Batch(
            emitter=f"{1:032x}",
            partition=0,
            first_seq=start,
            count=count,
            customers=["cus_1"],
            dimensions=[()],
            series_dimensions=[0],
            at=[0] * count,
            base_time_ms=start * DAY_MS // ids,
            time=[0] * count,
            usage={"input_tokens": [1] * count},
            ids=os.urandom(ID_BYTES * count),
        )
        yield Record(number, start * DAY_MS // ids, None, encode_batch(batch))


if __name__ == "__main__":
    print(json.dumps(measure(Folder(sys.argv[1]), int(sys.argv[2]))), flush=True)
    # What it has used is looked at now; it is ended from outside.
    time.sleep(3600)
