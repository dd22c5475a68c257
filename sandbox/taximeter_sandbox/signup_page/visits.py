"""Who is signing up on the demo page: a bounded memory of the latest, each known by a name that cannot be guessed."""

import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

VISITS_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who signed up, by ids of Stripe's; `setup_intent` is None when no payment details are asked for."""

    customer: str
    subscription: str
    setup_intent: str | None


class Visits:
    """The latest visits; when it is full, the oldest is forgotten."""

    def __init__(self, most: int = VISITS_MAX) -> None:
        self._most = most
        self._by_name: OrderedDict[str, Visit] = OrderedDict()

    def add(self, visit: Visit) -> str:
        """Remember a visit; returns its name."""
        while len(self._by_name) >= self._most:
            self._by_name.popitem(last=False)
        name = secrets.token_urlsafe(24)
        self._by_name[name] = visit
        return name

    def get(self, name: str) -> Visit | None:
        """The visit of this name, if there was one and it is not forgotten."""
        return self._by_name.get(name)
