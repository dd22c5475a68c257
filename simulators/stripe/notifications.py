"""What Stripe tells webhook endpoints: every event that happened, of both kinds, in order."""

from typing import NamedTuple


class Related(NamedTuple):
    """The object that a thin notification is about: its id, its type (`billing.meter`) and its URL (`/v1/billing/meters/mtr_1`)."""

    id: str
    type: str
    url: str


class Notifications:
    """Takes what happened; destinations get it from here."""

    def snapshot(self, kind: str, about: dict[str, object], now_ms: int) -> None:
        """An event that carries the object it is about, as the API shows it."""

    def thin(self, kind: str, related: Related | None, data: dict[str, object], now_ms: int) -> None:
        """An event whose `data` is fetched by its id."""
