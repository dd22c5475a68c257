"""What an account's owner sets in Stripe's dashboard about invoices."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BillingSettings:
    """How long a draft waits for late usage before it is finalised, and how many days before a period's end it is announced."""

    finalization_grace_hours: int = 1
    upcoming_days: int = 7

    def __post_init__(self) -> None:
        if not 1 <= self.finalization_grace_hours <= 72:
            raise ValueError("billing: finalization_grace_hours is outside 1..72")
        if not 1 <= self.upcoming_days <= 45:
            raise ValueError("billing: upcoming_days is outside 1..45")
