"""What is brought in, from memory."""

from collections.abc import AsyncGenerator, Sequence
from hashlib import blake2b

from aggregator.importing.source_entries import SourceEntry, SourceEvent
from metering.plans.import_records import ImportedContent


class Lines:
    """A file in memory, two lines at a time."""

    columns: Sequence[tuple[str, str]] = ()
    source = ""

    def __init__(self, events: Sequence[SourceEvent]) -> None:
        self._entries = [SourceEntry(f"line {number}", event) for number, event in enumerate(events, start=1)]

    async def content(self) -> ImportedContent:
        return ImportedContent("file", "lines", blake2b(repr(self._entries).encode(), digest_size=16).hexdigest())

    async def chunks(self) -> AsyncGenerator[Sequence[SourceEntry], None]:
        for start in range(0, len(self._entries), 2):
            yield self._entries[start : start + 2]
