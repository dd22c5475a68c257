"""Disks on which aggregators leave their ids: in memory, and no better than disks are.

A process holds a disk alone, as it holds the lock of a folder. When it is gone, the next one finds what was written, an older state of it that
somebody restored, nothing, a file too few, or what a partition of the same name has left in another life.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from aggregator.ids.id_archive import IdArchive, IdSegment
from aggregator.ids.id_files import IdFiles, SegmentRecord, SnapshotRecord
from aggregator.ids.id_table import Entries, MemoryStorage
from aggregator.snapshots import IdSnapshots
from metering.process.logs import get_log
from tests.simulation.world import World

ANOTHER_CHAIN = "ffffffffffffffff"


class KeptStorage(MemoryStorage):
    """A segment's entries, under the name of a file."""

    def __init__(self, files: dict[str, "KeptStorage"], name: str, entries: Entries | None = None) -> None:
        super().__init__()
        self.name = name
        self._files = files
        if entries is not None:
            self._entries = entries

    def copy(self) -> Entries:
        """What a backup takes."""
        return np.copy(self._entries)

    def dispose(self) -> None:
        """Delete the file."""
        self._files.pop(self.name, None)


@dataclass(slots=True)
class Disk:
    """The folder of one partition, and a backup of it."""

    files: dict[str, KeptStorage] = field(default_factory=dict)
    snapshot: SnapshotRecord | None = None
    backup: tuple[SnapshotRecord, dict[str, Entries]] | None = None
    numbers: int = 0

    def restore_backup(self) -> None:
        """As it was."""
        if self.backup is not None:
            self.snapshot, files = self.backup
            self.files = {}
            for name, entries in files.items():
                self.files[name] = KeptStorage(self.files, name, np.copy(entries))


class DiskFolder(IdFiles):
    """`aggregator.ids.id_files.IdFiles` on a disk in memory."""

    def __init__(self, world: World, disk: Disk) -> None:
        self._world = world
        self._disk = disk

    def storage(self) -> KeptStorage:  # type: ignore[override]  # a storage all the same
        self._disk.numbers += 1
        name = f"{self._disk.numbers}.ids"
        self._disk.files[name] = storage = KeptStorage(self._disk.files, name)
        return storage

    def read(self) -> SnapshotRecord | None:
        return self._disk.snapshot

    def restore(self, snapshot: SnapshotRecord, archive: IdArchive, since_ms: int) -> bool:
        for record in snapshot.segments:
            if record.until_ms < since_ms:
                continue
            storage = self._disk.files.get(record.file)
            if storage is None:
                return False
            segment = IdSegment(storage, since_ms=record.since_ms, until_ms=record.until_ms)
            segment.adopt(record.count)
            archive.restore(segment)
        return True

    def write(self, snapshot: SnapshotRecord, *, durable: bool) -> None:
        disk = self._disk
        disk.snapshot = snapshot
        if durable or self._world.chance(0.3):
            disk.backup = snapshot, {name: storage.copy() for name, storage in disk.files.items()}

    def clear(self) -> None:
        self._disk.snapshot = None
        self._disk.files.clear()

    def segments(self, archive: IdArchive) -> list[SegmentRecord]:
        records = []
        for segment in archive.segments:
            assert isinstance(segment.storage, KeptStorage), "every segment was made here"
            records.append(SegmentRecord(file=segment.storage.name, count=len(segment), since_ms=segment.since_ms, until_ms=segment.until_ms))
        return records

    def close(self) -> None:
        """The lock is a matter of `Disks`."""


class DiskSnapshots(IdSnapshots):
    """What one process has: the disks that it holds, one for each partition."""

    def __init__(self, world: World, disks: Sequence[Disk], horizon_ms: int) -> None:
        super().__init__(None, topic="usage.events", horizon_ms=horizon_ms, log=get_log("simulation"))
        for partition, disk in enumerate(disks):
            self._folders[partition] = DiskFolder(world, disk)

    def _folder(self, partition: int) -> IdFiles | None:
        return self._folders.get(partition)


class Disks:
    """The machines' disks: who starts takes one that nobody holds."""

    def __init__(self, world: World, horizon_ms: int, machines: int) -> None:
        self._world = world
        self._horizon_ms = horizon_ms
        self._free = [[self._new() for _ in range(world.partitions)] for _ in range(machines)]
        self._held: dict[str, list[Disk]] = {}

    def take(self, name: str) -> DiskSnapshots:
        """For a process of this name: a disk in the state in which it is found, or none."""
        disks = self._free.pop() if self._free else []
        self._held[name] = disks
        for disk in disks:
            self._age(disk)
        return DiskSnapshots(self._world, disks, self._horizon_ms)

    def give_back(self, name: str) -> None:
        """The process of this name is gone."""
        if disks := self._held.pop(name, None):
            self._free.append(disks)

    def _new(self) -> Disk:
        if self._world.chance(0.8):
            return Disk()
        events_end, offset = self._world.rng.between(2, 12), self._world.rng.below(4)
        return Disk(
            snapshot=SnapshotRecord(
                chain_id=ANOTHER_CHAIN, tally_offset=offset, tally_digest="00", events_end=events_end, known_since_ms=0, key="", segments=[]
            )
        )

    def _age(self, disk: Disk) -> None:
        dice = self._world.rng.random()
        if dice < 0.25:
            disk.restore_backup()
        elif dice < 0.3:
            disk.snapshot = None
            disk.files.clear()
        elif dice < 0.35 and disk.files:
            del disk.files[self._world.rng.pick(list(disk.files))]
