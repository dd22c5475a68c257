"""Who may be billed for whom, from usage.customers alone, by code of its own. Pure."""

from collections import defaultdict
from typing import Final

import orjson

from metering.records.fail_closed import RecordCorrupt

_FORMAT: Final = "customer-link/"
_VERSION: Final = "1"
_NOBODY: Final = "-"


class WrittenLinks:
    """Hand in the records of usage.customers in order. A customer may have been linked to several customers of Stripe, one after the other."""

    def __init__(self) -> None:
        self._ever: defaultdict[str, set[str]] = defaultdict(set)

    def take(self, value: bytes | None) -> None:
        """The next record. Raises RecordCorrupt for a format of a later release."""
        try:
            document = orjson.loads(value or b"")
            kind, customer, billed = document["format"], document["customer"], document["stripe_customer"]
        except (KeyError, TypeError, ValueError):
            return
        if not isinstance(kind, str) or not kind.startswith(_FORMAT):
            return
        if kind != _FORMAT + _VERSION:
            raise RecordCorrupt(f"usage.customers has the format {kind!r}; this version reads {_FORMAT}{_VERSION}")
        if isinstance(customer, str) and isinstance(billed, str) and billed:
            self._ever[customer].add(billed)

    def allows(self, customer: str, billed: str) -> bool:
        """Whether anybody ever linked this customer to that one of Stripe's. What is for nobody is never sent: the verdict has it as rejected."""
        return billed == _NOBODY or billed in self._ever.get(customer, ())
