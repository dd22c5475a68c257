"""What the checker makes of adjustments: which count, by a rule of its own, and whether they are as planned. Imports nothing of the pipeline."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

PlannedRow = tuple[str, str, int, int]
"""Customer, meter, window, quantity."""

Plans = Mapping[str, tuple[int, Sequence[Sequence[PlannedRow]]]]
"""By the plan's name: the partition, and the rows of each part."""


class AdjustmentBook:
    """Those of one partition, in order. `say`: takes the name of a violation and a text."""

    def __init__(self, partition: int, plans: Plans, say: Callable[[str, str], None]) -> None:
        self._partition = partition
        self._plans = plans
        self._say = say
        self._parts: dict[str, int] = {}
        self._ended: set[str] = set()

    def counts(self, offset: int, tally: Mapping[str, Any], chain: str | None, end: int | None) -> bool:
        """Whether an adjustment counts: it is where it says, and changes a chain that is there."""
        return end is not None and tally["adjustment"]["offset"] == offset and (tally["chain"], tally["start"], tally["end"]) == (chain, end, end)

    def take(self, offset: int, tally: Mapping[str, Any]) -> None:
        """The next one that counts."""
        about, where = tally["adjustment"], f"adjustment {offset} of {self._partition}"
        name, part = about["plan"], about["part"]
        partition, parts = self._plans.get(name, (-1, ()))
        done = self._parts.get(name, 0)
        if partition != self._partition:
            self._say("phantom", f"{where} is of plan {name}, which nobody made here")
            return
        if about["kind"] == "abandon":
            if (about["part"], about["parts"], tally["rows"]) != (done, done, []) or name in self._ended:
                self._say("unaccounted", f"{where} ends plan {name} after {done} parts, and says {about}")
            self._ended.add(name)
            return
        if part < done:
            self._say("duplicate", f"{where} is part {part} of plan {name}, which counts already")
        elif part != done or about["parts"] != len(parts) or name in self._ended:
            self._say("unaccounted", f"{where} is part {part} of plan {name} after {done} of {len(parts)}, ended: {name in self._ended}")
        self._parts[name] = done + 1
        said = [(tally["customers"][c], tally["meters"][m], window, quantity) for c, m, _, window, quantity, _ in tally["rows"]]
        if part >= len(parts) or said != list(parts[part]):
            self._say("phantom", f"{where} has the rows {said}, planned was {parts[part : part + 1]}")
        if ("header" in about) != (part == 0) or (part == 0 and blake2b(about["header"].encode(), digest_size=16).hexdigest() != name):
            self._say("unaccounted", f"{where} does not have the header of plan {name}")
