"""Values of a table's cells as JSON has them. Pure."""

from datetime import UTC, date, datetime
from typing import Any


def plain_value(value: Any) -> Any:
    """Times with a zone as RFC 3339, times without one and dates as texts without one, structures as objects; what has no value is left out."""
    if isinstance(value, dict):
        return {name: plain_value(each) for name, each in value.items() if each is not None}
    if isinstance(value, datetime):
        return value.isoformat() if value.tzinfo is None else f"{value.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
    return value.isoformat() if isinstance(value, date) else value
