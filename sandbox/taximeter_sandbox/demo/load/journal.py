"""What one load process did, written by itself: what it is about to send, before it sends; what came of it, afterwards.

One JSON document a line. `{"n", "kinds", "ids", "customers", "input", "output", "audio"}` before sending, columns of equal length;
`{"n", "refused": [positions], "failed": [positions], "resent": times}` after it. A number `n` without a second line has no known outcome.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import orjson

from taximeter_sandbox.demo.load.workload import Emission

SUFFIX: Final = ".journal.jsonl"


class Journal:
    """An append-only file, one writer. Lines are handed to the operating system at once, so a kill of the process loses none."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._number = 0

    def sending(self, emissions: Sequence[Emission]) -> int:
        """Note what is about to be sent; returns the number to give to `told`. Blocks for the write."""
        self._number += 1
        self._write(
            {
                "n": self._number,
                "kinds": "".join([emission.kind.value for emission in emissions]),
                "ids": [emission.event_id for emission in emissions],
                "customers": [emission.customer for emission in emissions],
                "input": [emission.input_tokens for emission in emissions],
                "output": [emission.output_tokens for emission in emissions],
                "audio": [emission.audio_seconds for emission in emissions],
            }
        )
        return self._number

    def told(self, number: int, *, refused: Collection[int] = (), failed: Collection[int] = (), resent: int = 0) -> None:
        """Note the outcome: positions refused for what they say, positions whose arrival is not known; all others are accepted.

        `resent`: how often all of it was sent again because its arrival was not known.
        """
        self._write({"n": number, "refused": sorted(refused), "failed": sorted(failed), "resent": resent})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def _write(self, document: Mapping[str, Any]) -> None:
        self._file.write(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE))


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One sending with its outcome; `told` is False when there is none. Columns as in the file."""

    kinds: str
    ids: Sequence[str]
    customers: Sequence[str]
    usage: Mapping[str, Sequence[int]]
    refused: frozenset[int]
    failed: frozenset[int]
    told: bool
    resent: int


def read_journal(path: Path) -> Iterator[JournalEntry]:
    """The sendings of a journal, in the order in which they were written. Raises ValueError for a line that is not one."""
    waiting: dict[int, dict[str, Any]] = {}
    with path.open("rb") as file:
        for line in file:
            document = orjson.loads(line)
            if "ids" in document:
                waiting[document["n"]] = document
                continue
            yield _entry(waiting.pop(document["n"]), document)
    for document in waiting.values():
        yield _entry(document, None)


def _entry(sent: Mapping[str, Any], told: Mapping[str, Any] | None) -> JournalEntry:
    return JournalEntry(
        kinds=sent["kinds"],
        ids=sent["ids"],
        customers=sent["customers"],
        usage={"input_tokens": sent["input"], "output_tokens": sent["output"], "audio_seconds": sent["audio"]},
        refused=frozenset(told["refused"]) if told else frozenset(),
        failed=frozenset(told["failed"]) if told else frozenset(),
        told=told is not None,
        resent=told["resent"] if told else 0,
    )
