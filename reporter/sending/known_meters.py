"""The meters that a part of the reporter knows."""

from collections.abc import Mapping
from typing import Protocol

from metering.records.meters import Meter


class KnownMeters(Protocol):
    """A catalogue, or what is published of them. It may grow between two looks."""

    @property
    def by_name(self) -> Mapping[str, Meter]:
        """By the name that meter events have at Stripe."""
        ...
