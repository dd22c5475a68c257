"""Snapshots of the ids of the partitions that a process owns: where their archives come from, and what is left for the next process."""

from collections.abc import Callable
from pathlib import Path

from aggregator.core.counting import PartitionCounter
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_files import IdFiles, SnapshotRecord, digest_of, open_folder
from aggregator.ids.id_index import span_ms
from aggregator.ids.id_table import MemoryStorage, Storage
from metering.process.logs import Log


class IdSnapshots:
    """With a `state_dir`, archived ids are in files there; without one, in memory. A partition's folder is held until `close`."""

    def __init__(self, state_dir: Path | None, *, topic: str, horizon_ms: int, log: Log) -> None:
        self._state_dir = state_dir
        self._topic = topic
        self._span_ms = span_ms(horizon_ms)
        self._log = log
        self._folders: dict[int, IdFiles] = {}
        self._known_since_ms: dict[int, int] = {}
        self._saved: dict[int, int] = {}

    def found(self, partition: int) -> SnapshotRecord | None:
        """What an earlier process, or this one earlier, has left; to be checked against the log."""
        folder = self._folder(partition)
        return folder.read() if folder is not None else None

    def restored(self, partition: int, snapshot: SnapshotRecord, since_ms: int) -> IdArchive | None:
        """An archive with a snapshot's ids of `since_ms` and later; None when its files are not whole."""
        folder = self._folders[partition]
        archive = self._archive(folder.storage, bytes.fromhex(snapshot.key))
        if not folder.restore(snapshot, archive, since_ms):
            return None
        self._known_since_ms[partition] = snapshot.known_since_ms
        self._saved[partition] = len(archive)
        return archive

    def empty(self, partition: int, *, known_since_ms: int) -> IdArchive:
        """An archive without ids: those from this log time on will be read from the log."""
        self._known_since_ms[partition] = known_since_ms
        self._saved[partition] = 0
        folder = self._folder(partition)
        if folder is None:
            return self._archive(MemoryStorage)
        folder.clear()
        return self._archive(folder.storage)

    def save(self, counter: PartitionCounter, tally: bytes) -> None:
        """`tally` was accepted as the head: write a snapshot if every id is in the archive and there are new ones."""
        ids = counter.ids
        if not ids.recent and len(ids.archive) != self._saved.get(counter.partition):
            self._write(counter, digest_of(tally), durable=False)

    def save_all(self, counter: PartitionCounter, tally: bytes) -> None:
        """At an orderly end, with nothing pending and `tally` the head: archive every id and write a snapshot that outlives the machine."""
        if counter.partition in self._folders:
            counter.ids.archive_all(counter.tallies.log_time_ms)
            self._write(counter, digest_of(tally), durable=True)

    def close(self) -> None:
        """Let other processes have the folders."""
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()

    def _write(self, counter: PartitionCounter, tally_digest: str, *, durable: bool) -> None:
        folder, tallies = self._folders.get(counter.partition), counter.tallies
        if folder is None or tallies.chain_id is None:
            return
        snapshot = SnapshotRecord(
            chain_id=tallies.chain_id,
            tally_offset=tallies.chain.head,
            tally_digest=tally_digest,
            events_end=tallies.chain.end,
            known_since_ms=self._known_since_ms[counter.partition],
            key=counter.ids.archive.key.hex(),
            segments=folder.segments(counter.ids.archive),
        )
        try:
            folder.write(snapshot, durable=durable)
        except OSError as error:
            self._log.warning("no snapshot of the ids could be written", partition=counter.partition, reason=str(error))
        self._saved[counter.partition] = len(counter.ids.archive)

    def _folder(self, partition: int) -> IdFiles | None:
        if self._state_dir is None:
            return None
        folder = self._folders.get(partition)
        if folder is None:
            folder = open_folder(self._state_dir, self._topic, partition, self._log)
            if folder is not None:
                self._folders[partition] = folder
        return folder

    def _archive(self, storage: Callable[[], Storage], key: bytes | None = None) -> IdArchive:
        return IdArchive(storage, span_ms=self._span_ms, key=key)
