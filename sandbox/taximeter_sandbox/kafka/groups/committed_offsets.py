"""Offsets that consumer groups commit, kept in a file of JSON lines and in memory."""

import errno
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_REWRITE_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Committed:
    """One committed position: ``offset`` is the next to read, ``metadata`` whatever the client attached."""

    offset: int
    leader_epoch: int
    metadata: str | None


#: (topic, partition)
PartitionKey = tuple[str, int]


class CommittedOffsets:
    """Committed offsets of all groups. Every change is written, as one line, before the call returns.

    A line is ``[group, topic, partition, offset, leader epoch, metadata]``, or shorter for a deletion: ``[group]``, or
    ``[null, topic]`` for a deleted topic. The file is rewritten with the live offsets when it has grown large.
    """

    def __init__(self, path: Path) -> None:
        """Read ``path``; a torn last line, never acknowledged, is dropped. Raises ValueError for damage before it."""
        self._path = path
        self._groups: dict[str, dict[PartitionKey, Committed]] = {}
        if path.exists():
            content = path.read_bytes()
            for line in content[: content.rfind(b"\n") + 1].splitlines():
                self._apply(json.loads(line))
        self._rewrite()

    def groups(self) -> list[str]:
        """Groups that have committed something."""
        return list(self._groups)

    def of_group(self, group: str) -> Mapping[PartitionKey, Committed]:
        """Everything a group has committed."""
        return self._groups.get(group, {})

    def commit(self, group: str, offsets: Mapping[PartitionKey, Committed]) -> None:
        """Store positions of a group. Raises OSError when the disk refuses."""
        self._write([group, *key, value.offset, value.leader_epoch, value.metadata] for key, value in offsets.items())

    def delete_group(self, group: str) -> None:
        """Forget a group."""
        self._write(iter([[group]]))

    def delete_topic(self, topic: str) -> None:
        """Forget a topic's positions in every group."""
        self._write(iter([[None, topic]]))

    def close(self) -> None:
        """Flush and close the file."""
        os.fsync(self._file.fileno())
        self._file.close()

    def _write(self, lines: Iterator[list[Any]]) -> None:
        entries = list(lines)
        text = b"".join(json.dumps(entry, separators=(",", ":")).encode() + b"\n" for entry in entries)
        if self._file.write(text) != len(text):
            self._file.truncate(self._size)
            raise OSError(errno.ENOSPC, "a commit was written in part", str(self._path))
        self._size += len(text)
        for entry in entries:
            self._apply(entry)
        if self._size > self._rewrite_at_bytes:
            self._file.close()
            self._rewrite()

    def _apply(self, entry: list[Any]) -> None:
        match entry:
            case [str(group), str(topic), int(partition), int(offset), int(epoch), metadata]:
                self._groups.setdefault(group, {})[topic, partition] = Committed(offset, epoch, metadata)
            case [str(group)]:
                self._groups.pop(group, None)
            case [None, str(topic)]:
                for offsets in self._groups.values():
                    for key in [key for key in offsets if key[0] == topic]:
                        del offsets[key]
            case _:
                raise ValueError(f"{self._path}: not a committed offset: {entry!r}")

    def _rewrite(self) -> None:
        draft = self._path.with_name(self._path.name + ".new")
        with draft.open("wb") as file:
            for group, offsets in self._groups.items():
                for key, value in offsets.items():
                    line = [group, *key, value.offset, value.leader_epoch, value.metadata]
                    file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        # Unbuffered: a write that returned is in the page cache and outlives the process.
        self._file = self._path.open("ab", buffering=0)
        self._size = self._path.stat().st_size
        self._rewrite_at_bytes = max(_REWRITE_BYTES, 4 * self._size)
