"""What each part of an account may ask of it. A part takes such a port, so that it knows nothing of the account it belongs to."""

from typing import Protocol

from taximeter_sandbox.stripe.state.identities import IdentityGenerator
from taximeter_sandbox.stripe.state.journal import Entry


class AccountPort(Protocol):
    """What all parts ask. A part that needs more extends it in its own package."""

    @property
    def identities(self) -> IdentityGenerator:
        """Where new ids come from."""

    @property
    def replaying(self) -> bool:
        """Whether the journal of an earlier process is being replayed: what a change led to is in the journal itself."""

    def note(self, entry: Entry) -> None:
        """Put a change into the journal."""

    def advance(self, now_ms: int) -> None:
        """Do what is due on the whole account."""
