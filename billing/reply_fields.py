"""Fields of Stripe's objects that need not be there: Stripe's OpenAPI document marks few fields as required, and the library raises for the others.

price = field_of(line, "pricing", "price_details", "price")
"""

from typing import Any


def field_of(value: object, *path: str) -> Any:
    """What is at this path of an object of the library's; None where a part of the path is absent or null."""
    for name in path:
        value = getattr(value, name, None)
        if value is None:
            return None
    return value


def text_of(value: object, *path: str) -> str:
    """The text at this path; "" where there is none."""
    found = field_of(value, *path)
    return found if isinstance(found, str) else ""
