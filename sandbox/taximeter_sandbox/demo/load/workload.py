"""What the load emits: a seeded stream of usage, with retries, lateness, conflicts and every kind of malformed event. Pure."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from enum import Enum
from random import Random
from typing import Any, Final, NamedTuple

from taximeter_sandbox.demo.plan import AUDIO_EVERY, Mix

MODELS: Final = ("alpaca-7b", "alpaca-13b", "alpaca-70b")
LATE_MINUTES: Final = (2, 7, 25)
REMEMBERED: Final = 4_000
QUANTITY_TOO_LARGE: Final = 10**12 + 1

Document = dict[str, Any]


class Kind(Enum):
    """What an emission is meant to be."""

    FRESH = "f"
    LATE = "l"
    RETRY = "r"  # the same id and content as an earlier one
    CONFLICT = "c"  # the id of an earlier one, other content
    MALFORMED = "m"


class Emission(NamedTuple):
    """One event as the load emits it; a tuple, because a million of them are made. `flaw` is what makes a malformed one so."""

    kind: Kind
    event_id: str
    customer: str
    time_ms: int
    input_tokens: int
    output_tokens: int
    audio_seconds: int
    model: str
    flaw: str = ""


def customer_ids(count: int, prefix: str = "cus_demo") -> list[str]:
    """The customers of a run."""
    return [f"{prefix}_{number:05d}" for number in range(count)]


class Workload:
    """An endless stream for one load process. Two with the same seed and name give the same customers and quantities.

    Some customers use much more than others. Customers at every AUDIO_EVERY-th place use audio too.
    """

    def __init__(self, name: str, *, seed: int, customers: Sequence[str], mix: Mix) -> None:
        self._name = name
        self._random = Random(f"{seed}:{name}")
        self._customers = customers
        self._number = 0
        self._remembered: deque[Emission] = deque(maxlen=REMEMBERED)
        self._malformed = mix.malformed
        self._retries = self._malformed + mix.retries
        self._conflicts = self._retries + mix.conflicts
        self._late = self._conflicts + mix.late

    def take(self, count: int, now_ms: int) -> list[Emission]:
        """The next `count` emissions, made at this moment."""
        return [self._next(now_ms) for _ in range(count)]

    def _next(self, now_ms: int) -> Emission:
        draw = self._random.random()
        remembered = self._remembered
        if draw >= self._late or not remembered:
            emission = self._fresh(now_ms)
        elif draw < self._malformed:
            flaws = tuple(FLAWS)
            return self._fresh(now_ms)._replace(kind=Kind.MALFORMED, flaw=flaws[self._number % len(flaws)])
        elif draw < self._conflicts:
            earlier = remembered[int(self._random.random() * len(remembered))]
            if draw < self._retries:
                return earlier._replace(kind=Kind.RETRY)
            return earlier._replace(kind=Kind.CONFLICT, output_tokens=earlier.output_tokens + 1)
        else:
            minutes = LATE_MINUTES[self._number % len(LATE_MINUTES)]
            emission = self._fresh(now_ms - minutes * 60_000)._replace(kind=Kind.LATE)
        remembered.append(emission)
        return emission

    def _fresh(self, time_ms: int) -> Emission:
        random = self._random.random
        position = int(random() ** 1.5 * len(self._customers))
        self._number += 1
        tokens = 1 + int(random() * 4_000)
        return Emission(
            Kind.FRESH,
            f"{self._name}-{self._number}",
            self._customers[position],
            time_ms,
            tokens,
            tokens >> 2,
            int(random() * 90) if position % AUDIO_EVERY == 0 else 0,
            MODELS[tokens % len(MODELS)],
        )


class Times:
    """RFC 3339 texts of milliseconds since the epoch; the last ones are kept, since emissions of one moment share theirs."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def text(self, time_ms: int) -> str:
        """Such as 2026-11-22T10:00:00.123+00:00."""
        text = self._texts.get(time_ms)
        if text is None:
            if len(self._texts) > REMEMBERED:
                self._texts.clear()
            text = self._texts[time_ms] = datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")
        return text


def document_of(emission: Emission, source: str, times: Times) -> Document:
    """The event in the product's own JSON form, spoiled if it is meant to be malformed."""
    usage: dict[str, Any] = {"input_tokens": emission.input_tokens, "output_tokens": emission.output_tokens}
    if emission.audio_seconds:
        usage["audio_seconds"] = emission.audio_seconds
    document = {
        "id": emission.event_id,
        "source": source,
        "time": times.text(emission.time_ms),
        "customer": emission.customer,
        "usage": usage,
        "dimensions": {"model": emission.model},
    }
    if emission.flaw:
        FLAWS[emission.flaw](document)
    return document


def _usage(value: Any) -> Callable[[Document], None]:
    def spoil(document: Document) -> None:
        document["usage"]["input_tokens"] = value

    return spoil


def _field(name: str, value: Any) -> Callable[[Document], None]:
    def spoil(document: Document) -> None:
        document[name] = value

    return spoil


def _an_hour_ahead(document: Document) -> None:
    document["time"] = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 3_600, UTC).isoformat()


FLAWS: Final[dict[str, Callable[[Document], None]]] = {
    "negative": _usage(-1),
    "float": _usage(12.5),
    "string": _usage("812"),
    "boolean": _usage(True),
    "too large": _usage(QUANTITY_TOO_LARGE),
    "customer empty": _field("customer", ""),
    "customer null": _field("customer", None),
    "id too long": _field("id", "x" * 129),
    "time without zone": _field("time", "2026-11-22T10:00:00"),
    "time not a time": _field("time", "yesterday at noon"),
    "an hour ahead": _an_hour_ahead,
    "usage a list": _field("usage", [1, 2]),
    "dimensions a string": _field("dimensions", "alpaca-7b"),
}
"""What can be wrong with an event, by name: each changes a good document. An unknown usage field costs that field alone, so it is not among them."""


def in_batches(total: int, size: int) -> Iterator[int]:
    """Sizes that add up to `total`."""
    for start in range(0, total, size):
        yield min(size, total - start)
