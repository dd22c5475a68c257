"""Emitters of which nothing is missing, in little memory: the digest of the name, the number after the last, and the own time of the latest event."""

from collections.abc import Callable
from hashlib import blake2b
from heapq import nsmallest
from operator import itemgetter
from typing import Final

from metering.records.tally import EMITTER_DIGEST_BYTES, DigestedEmitters

_SECONDS_BITS: Final = 40
_SECONDS: Final = (1 << _SECONDS_BITS) - 1


class EmitterDigests:
    """An entry takes about 150 bytes; in a checkpoint about 40."""

    def __init__(self) -> None:
        self._entries: dict[bytes, int] = {}  # the number after the last above the time in seconds, rounded up

    def __len__(self) -> int:
        return len(self._entries)

    def following(self, emitter: str) -> int | None:
        """The number after the last of an emitter; None if it is not known here."""
        entry = self._entries.get(_digest(emitter)) if self._entries else None
        return None if entry is None else entry >> _SECONDS_BITS

    def add(self, emitter: str, following: int, latest_ms: int) -> None:
        """Its numbers from 0 to before `following` are seen."""
        self._entries[_digest(emitter)] = following << _SECONDS_BITS | -(-latest_ms // 1000)

    def remove(self, emitter: str) -> int:
        """Take an emitter out that is here; returns the own time of its latest event in ms, or a little later."""
        return (self._entries.pop(_digest(emitter)) & _SECONDS) * 1000

    def forget_older(self, time_ms: int) -> None:
        """Forget those whose events are all older than this."""
        self._keep(lambda entry: (entry & _SECONDS) * 1000 >= time_ms)

    def forget_oldest(self, count: int) -> int:
        """Forget this many, those whose events are oldest; returns the own time of the latest event among them in ms, or a little later."""
        oldest = nsmallest(count, ((entry & _SECONDS, digest) for digest, entry in self._entries.items()), key=itemgetter(0))
        for _, digest in oldest:
            del self._entries[digest]
        return oldest[-1][0] * 1000 if oldest else 0

    def state(self) -> DigestedEmitters:
        """For a checkpoint."""
        entries = self._entries
        return DigestedEmitters(
            b"".join(entries), [entry >> _SECONDS_BITS for entry in entries.values()], [entry & _SECONDS for entry in entries.values()]
        )

    def restore(self, state: DigestedEmitters) -> None:
        """From a checkpoint, in place of what is here."""
        digests = (state.digests[at : at + EMITTER_DIGEST_BYTES] for at in range(0, len(state.digests), EMITTER_DIGEST_BYTES))
        self._entries = {
            digest: following << _SECONDS_BITS | seconds for digest, following, seconds in zip(digests, state.following, state.latest_s, strict=True)
        }

    def _keep(self, wanted: Callable[[int], bool]) -> None:
        self._entries = {digest: entry for digest, entry in self._entries.items() if wanted(entry)}


def _digest(emitter: str) -> bytes:
    return blake2b(emitter.encode(), digest_size=EMITTER_DIGEST_BYTES).digest()
