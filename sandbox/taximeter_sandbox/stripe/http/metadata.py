"""Metadata: up to 50 pairs of text on most of Stripe's objects."""

from typing import NamedTuple, TypeAlias

from taximeter_sandbox.stripe.http.errors import invalid
from taximeter_sandbox.stripe.http.parameters import Parameters

KEYS_MAX = 50
Metadata: TypeAlias = tuple[tuple[str, str], ...]


class MetadataChange(NamedTuple):
    """What an update asks for: a key with an empty value is taken away, and with `clears` everything that was there."""

    clears: bool
    values: dict[str, str]

    def applied(self, metadata: Metadata) -> Metadata:
        """The metadata after the change. Raises ApiError (400) when there would be too many keys."""
        merged = {} if self.clears else dict(metadata)
        merged.update(self.values)
        kept = tuple((key, value) for key, value in merged.items() if value)
        if len(kept) > KEYS_MAX:
            raise invalid(f"Metadata can have at most {KEYS_MAX} keys.", "metadata")
        return kept


def read_metadata(parameters: Parameters) -> Metadata:
    """The `metadata` of a create call. Raises ApiError."""
    return read_change(parameters).applied(())


def read_change(parameters: Parameters) -> MetadataChange:
    """The `metadata` of an update; `metadata=` (empty) clears it. Raises ApiError."""
    if parameters.takes_empty("metadata"):
        return MetadataChange(clears=True, values={})
    values = parameters.text_map("metadata") or {}
    for key, value in values.items():
        if len(key) > 40 or len(value) > 500:
            raise invalid("Metadata keys can have up to 40 characters and values up to 500.", f"metadata[{key[:40]}]")
    return MetadataChange(clears=False, values=values)
