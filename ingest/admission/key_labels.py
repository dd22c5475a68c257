"""What metrics call each key: its name, of a bounded number of keys in a process's life."""

from typing import Final

from metering.configuration.key_file import ApiKey

KEY_LABELS_MAX: Final = 100
OTHER_KEYS: Final = "other"
"""All keys beyond."""


class KeyLabels:
    """The first KEY_LABELS_MAX names have labels of their own."""

    def __init__(self) -> None:
        self._known: set[str] = set()

    def of(self, key: ApiKey) -> str:
        """The label of a key."""
        if key.name not in self._known:
            if len(self._known) >= KEY_LABELS_MAX:
                return OTHER_KEYS
            self._known.add(key.name)
        return key.name
