"""What a service says of itself beside metrics and probes: names and amounts that would be too many for labels."""

from collections.abc import Callable, Mapping
from typing import Any

StatusPart = Callable[[], Any]
"""What stands under one name: JSON values. No secrets. It may hold ids of customers: the admin port is internal."""


class StatusPage:
    """The parts of `GET /status`, by name."""

    def __init__(self) -> None:
        self._parts: dict[str, StatusPart] = {}

    def provide(self, name: str, part: StatusPart) -> None:
        """Add a part. Raises ValueError if the name is in use."""
        if name in self._parts:
            raise ValueError(f"status part {name} exists")
        self._parts[name] = part

    def as_json(self) -> Mapping[str, Any]:
        """All parts; one that raises says so, and hides no other."""
        return {name: _asked(part) for name, part in self._parts.items()}


def _asked(part: StatusPart) -> Any:
    try:
        return part()
    except Exception as error:  # a page for people must answer; the type is enough to find the bug
        return f"cannot be told: {type(error).__name__}"
