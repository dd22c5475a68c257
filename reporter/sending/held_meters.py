"""Which meters Stripe refuses, since when, and when to look again. Pure: no I/O, no clock; times are passed in.

A meter that is inactive, unknown, or wants other payload keys would refuse each of its meter events. So nothing more of it is sent, while all
other meters go on. Now and then somebody looks whether that has changed, at a growing interval; then one meter event is sent on trial, and the
rest follows when Stripe has taken it.
"""

from dataclasses import dataclass
from typing import Final

LOOK_GROWTH: Final = 2.0
LOOK_SECONDS_MAX: Final = 300.0


@dataclass(slots=True)
class Hold:
    """A meter that Stripe refuses. `since_ms` is Unix milliseconds, the others are monotonic seconds. `reason` is Stripe's, in a few words."""

    reason: str
    since_ms: int
    refused_at: float
    look_at: float
    interval_s: float
    on_trial: bool = False


class HeldMeters:
    """All of one process. `look_every_s` is the first interval; it doubles, up to LOOK_SECONDS_MAX or itself if that is longer."""

    def __init__(self, look_every_s: float) -> None:
        if look_every_s <= 0:
            raise ValueError("look_every_s must be above zero")
        self._first_s = look_every_s
        self._most_s = max(look_every_s, LOOK_SECONDS_MAX)
        self._holds: dict[str, Hold] = {}
        self.names: frozenset[str] = frozenset()
        """The held meters, without those on trial."""

    @property
    def holds(self) -> dict[str, Hold]:
        """The held meters by name, without those on trial."""
        return {meter: hold for meter, hold in self._holds.items() if not hold.on_trial}

    def problem(self) -> str | None:
        """In words, which meters are held and why; None if none is."""
        return "; ".join(f"meter {meter} is held: {hold.reason}" for meter, hold in sorted(self.holds.items())) or None

    def is_held(self, meter: str) -> bool:
        """Whether nothing of this meter may be sent."""
        return meter in self.names

    def reason(self, meter: str) -> str:
        """What Stripe says of this meter; "" if it is neither held nor on trial."""
        hold = self._holds.get(meter)
        return "" if hold is None else hold.reason

    def is_on_trial(self, meter: str) -> bool:
        """Whether one meter event of this meter may be sent at a time, because Stripe has taken none yet since it was held."""
        hold = self._holds.get(meter)
        return hold is not None and hold.on_trial

    def refused(self, meter: str, reason: str, now_ms: int, monotonic: float) -> bool:
        """Stripe refuses this meter. Returns whether it was not held before."""
        hold = self._holds.get(meter)
        if hold is None:
            self._holds[meter] = Hold(reason, now_ms, monotonic, monotonic + self._first_s, self._first_s)
            self._note()
            return True
        again = hold.on_trial
        hold.reason, hold.refused_at, hold.on_trial = reason, monotonic, False
        if again:
            self._look_later(hold, monotonic)
            self._note()
        return again

    def try_again(self, meter: str, *, seen_at: float) -> bool:
        """Nothing is wrong with the meter any more, as was seen by a look that began at `seen_at`. Returns whether it is on trial now."""
        hold = self._holds.get(meter)
        if hold is None or hold.on_trial or hold.refused_at > seen_at:
            return False
        hold.on_trial = True
        self._note()
        return True

    def still_refused(self, meter: str, reason: str, now_ms: int, monotonic: float) -> bool:
        """A look found that Stripe would refuse the meter. Returns whether it was not held before."""
        hold = self._holds.get(meter)
        if hold is None or hold.on_trial:
            return self.refused(meter, reason, now_ms, monotonic)
        hold.reason = reason
        self._look_later(hold, monotonic)
        return False

    def look_later(self, meter: str, monotonic: float) -> None:
        """A look found nothing out."""
        hold = self._holds.get(meter)
        if hold is not None and not hold.on_trial:
            self._look_later(hold, monotonic)

    def took(self, meter: str) -> bool:
        """Stripe has taken the meter event on trial. Returns whether the meter was on trial: its hold is over."""
        hold = self._holds.get(meter)
        if hold is None or not hold.on_trial:
            return False
        del self._holds[meter]
        return True

    def wait_s(self, monotonic: float) -> float | None:
        """Seconds until it is time to look; None while no meter is held."""
        times = [hold.look_at for hold in self._holds.values() if not hold.on_trial]
        return max(0.0, min(times) - monotonic) if times else None

    def _look_later(self, hold: Hold, monotonic: float) -> None:
        hold.interval_s = min(self._most_s, hold.interval_s * LOOK_GROWTH)
        hold.look_at = monotonic + hold.interval_s

    def _note(self) -> None:
        self.names = frozenset(meter for meter, hold in self._holds.items() if not hold.on_trial)
