"""Producer ids, handed out once and never again, also after a kill."""

from pathlib import Path

from taximeter_sandbox.kafka.storage.documents import read_document, write_document

_BLOCK = 1000


class ProducerIds:
    """A counter that reserves a block on disk before it hands out the first id of it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        reserved = read_document(path)
        self._next = reserved["reserved_up_to"] if reserved else 0
        self._reserved_up_to = self._next

    def take(self) -> int:
        """A new id. Blocks on the disk once in a thousand."""
        if self._next >= self._reserved_up_to:
            self._reserved_up_to = self._next + _BLOCK
            write_document(self._path, {"reserved_up_to": self._reserved_up_to})
        self._next += 1
        return self._next - 1
