"""What keeps a verdict from EXACT, and the words that a verdict can be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class ProofWord(Enum):
    """From the best to the worst."""

    EXACT = "EXACT"
    EXACT_BUT = "EXACT BUT"
    PENDING = "PENDING"
    NOT_EXACT = "NOT EXACT"


@dataclass(frozen=True, slots=True)
class Term:
    """One thing that keeps the verdict from EXACT. `short` is its part of the verdict's line, `text` a sentence, `mend` a command or page."""

    name: str
    count: int
    short: str
    text: str
    mend: str
    units: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"name": self.name, "count": self.count, "text": self.text, "units": dict(self.units), "mend": self.mend}
