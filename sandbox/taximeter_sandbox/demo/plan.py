"""What one run of the demo is: its size, its mix, its meters and the settings of its services."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

PARTITIONS: Final = 12
EVENTS_MIN: Final = 1_000
AUDIO_EVERY: Final = 10  # one customer in this many also uses audio

METERS: Final[Mapping[str, tuple[str, ...]]] = {
    "alpaca_ai_tokens": ("input_tokens", "output_tokens"),
    "alpaca_audio_seconds": ("audio_seconds",),
}
"""Which usage fields each meter sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Shares of the events of one kind of load, as fractions; the rest is fresh usage.

    `misplaced`: single records without a key, which are in any partition until they are forwarded. Not together with `conflicts`, where the order
    decides which of two contents counts.
    """

    retries: float
    late: float
    malformed: float
    conflicts: float = 0.0
    misplaced: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How quickly the services work, in seconds: a demo shows in a minute what production does in ten."""

    flush: float = 1.0
    report: float = 3.0
    receipt: float = 0.5
    session: float = 6.0
    drain_target: float = 2.0
    stripe_calls_per_second: int = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run. `load_seconds`: over how long the load spreads its events, unless the machine is slower;
    `settle_seconds`: how long the pipeline may take after that to come to rest; `stripe_api`: what the reporters' `meter_events` is set to."""

    events: int = 1_000_000
    customers: int = 1_000
    seed: int = 1
    load_seconds: float = 35.0
    settle_seconds: float = 120.0
    emitter_processes: int = 2
    http_processes: int = 1
    http_share: float = 0.35
    record_share: float = 0.02
    stripe_api: str = "v1"
    pace: Pace = Pace()
    emitter_mix: Mix = Mix(retries=0.03, late=0.02, malformed=0.01)
    http_mix: Mix = Mix(retries=0.03, late=0.02, malformed=0.01)
    record_mix: Mix = Mix(retries=0.03, late=0.02, malformed=0.02, conflicts=0.01)

    def problems(self) -> list[str]:
        """What cannot be run, one sentence each."""
        found = []
        if self.events < EVENTS_MIN:
            found.append(f"--events must be at least {EVENTS_MIN}")
        if not 1 <= self.customers <= self.events:
            found.append("--customers must be at least 1 and at most the number of events")
        return found


def settings_file() -> str:
    """The taximeter.toml of the demo's services: the meters; everything else comes by environment."""
    tables = []
    for name, fields in METERS.items():
        quoted = ", ".join(f'"{field}"' for field in fields)
        tables.append(f'[[meters]]\nevent_name = "{name}"\nsum = [{quoted}]\n')
    return "\n".join(tables)
