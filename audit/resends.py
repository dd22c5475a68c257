"""Which meter events were sent again by a correction, and what became of that. Pure.

Read from the middle of a ledger: a correction that landed where its writer wanted is followed, and only an accepted one is ever sent and settled.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from metering.folds.corrections import TAKEN
from metering.records.ledger_records import Correction, CorrectionKind, Outcome, Receipt, Rejection


@dataclass(frozen=True, slots=True)
class Resend:
    """A correction that sends a meter event again. `outcome` is None while it is open; `refused_later`: Stripe took it and refused it later."""

    identifier: str
    target: str
    to_customer: str = ""  # who is billed, if it is another one
    outcome: Outcome | None = None
    refused_later: bool = False

    @property
    def is_billed(self) -> bool:
        """Whether Stripe has the usage by it, as far as Stripe reported."""
        return self.outcome in TAKEN and not self.refused_later

    def as_text(self) -> str:
        """In words: `sent again by correction tm-ab-1-c7 (accepted)`."""
        state = f"{self.outcome or 'open'}{', refused later' if self.refused_later else ''}"
        what = f"billed to {self.to_customer}" if self.to_customer else "sent again"
        return f"{what} by correction {self.identifier} ({state})"


class Resends:
    """The resends of one partition, from entries in the order of the log."""

    def __init__(self) -> None:
        self._corrections: dict[int, Correction] = {}
        self._outcomes: dict[int, Outcome] = {}

    @property
    def are_open(self) -> bool:
        """Whether a receipt may still say something of one."""
        return len(self._outcomes) < len(self._corrections)

    def fold(self, offset: int, entry: object) -> None:
        """Take in the entry at `offset`; other kinds of entries are passed over."""
        match entry:
            case Correction(kind=CorrectionKind.RESEND | CorrectionKind.MOVE) if entry.offset == offset:
                self._corrections[offset] = entry
            case Receipt():
                for settlement in entry.settlements:
                    if settlement.intent in self._corrections and settlement.outcome.is_final:
                        self._outcomes.setdefault(settlement.intent, settlement.outcome)
            case _:
                pass

    def by_target(self, rejections: Iterable[Rejection]) -> dict[str, Resend]:
        """The last resend of each meter event, by the identifier of the meter event."""
        refused = {name for rejection in rejections for name in rejection.identifiers}
        found: dict[str, Resend] = {}
        for offset, correction in self._corrections.items():
            identifier = correction.identifier()
            other = correction.event.customer if correction.kind is CorrectionKind.MOVE else ""
            outcome, later = self._outcomes.get(offset), identifier in refused
            found[correction.target_identifier] = Resend(identifier, correction.target_identifier, other, outcome, refused_later=later)
        return found
