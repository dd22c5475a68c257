"""How many emitters each key may bring: a name that was not heard of lately costs one of the key's day. Pure: the caller passes the time.

Aggregators remember every emitter for weeks, and a bounded number of them. A key whose every request comes from a new emitter would have others'
forgotten.
"""

from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass, field
from typing import Final

NEW_EMITTERS_PER_DAY: Final = 2_000
NAMES_REMEMBERED_MAX: Final = 200_000
"""Of all keys together; the one that was silent longest is forgotten, and costs one again when it comes back."""
_DAY_SECONDS: Final = 86_400.0


@dataclass(slots=True)
class _Allowance:
    left: float
    filled_at: float


@dataclass(slots=True)
class NewEmitters:
    """Each key has `per_day` at once, and gets them back over a day."""

    per_day: int
    _names: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)
    _allowances: dict[str, _Allowance] = field(default_factory=dict)

    def wait_seconds(self, key_id: str, name: str, now: float) -> float:
        """Take note of an emitter of a key; 0, or how long until the key may bring another one. `now`: monotonic seconds."""
        known = (key_id, name)
        if known in self._names:
            self._names.move_to_end(known)
            return 0.0
        allowance = self._allowances.setdefault(key_id, _Allowance(float(self.per_day), now))
        allowance.left = min(float(self.per_day), allowance.left + (now - allowance.filled_at) * self.per_day / _DAY_SECONDS)
        allowance.filled_at = now
        if allowance.left < 1.0:
            return (1.0 - allowance.left) * _DAY_SECONDS / self.per_day
        allowance.left -= 1.0
        self._names[known] = None
        if len(self._names) > NAMES_REMEMBERED_MAX:
            self._names.popitem(last=False)
        return 0.0

    def keep_only(self, key_ids: Container[str]) -> None:
        """Forget the allowances of all other keys."""
        self._allowances = {key_id: allowance for key_id, allowance in self._allowances.items() if key_id in key_ids}
