"""What the simulated producers wrote down before they sent anything: the only thing the checker believes. Knows nothing of the pipeline.

Quantities tell events apart: within one customer and meter, event number k is worth 4**k units. Any sum of meter events then says, digit by
digit in base 4, how often each event is in it.
"""

from dataclasses import dataclass, field

EVENTS_PER_CUSTOMER = 18  # 4**18 stays below the largest quantity an event may have
AHEAD_MAX_MS = 3_600_000  # a sender's clock that is further ahead is not believed


@dataclass(slots=True)
class Emitted:
    """One logical event. `identity` is what its producer calls it; copies and corrections share it. `home` is its customer's partition.

    `billable`: nothing in its content forbids counting it. `acknowledged`: its producer got the acknowledgement that it is durable.
    `stamped`: its sender set its time. `mystery`: what it has of a usage field that no meter sums.
    """

    identity: str
    customer: str
    home: int
    digit: int
    meters: tuple[str, ...]
    time_ms: int
    has_id: bool
    billable: bool = True
    acknowledged: bool = False
    stamped: bool = False
    mystery: int = 0

    @property
    def quantity(self) -> int:
        """What it adds to each of its meters."""
        return 1 << 2 * self.digit

    def time_in(self, log_time_ms: int) -> int:
        """Its time in a record of this log time: one that the sender set by a clock up to an hour ahead is the log time."""
        return log_time_ms if self.stamped and 0 < self.time_ms - log_time_ms <= AHEAD_MAX_MS else self.time_ms


@dataclass(slots=True)
class Journal:
    """All events by (customer, digit), and the bytes of records that no reader can make sense of."""

    events: dict[tuple[str, int], Emitted] = field(default_factory=dict)
    garbage: list[bytes | None] = field(default_factory=list)

    def known(self, customer: str, quantity: int) -> Emitted | None:
        """The event of this quantity, which is a power of four, so it has an even number of bits below the first."""
        bits = quantity.bit_length() - 1
        return None if quantity != 1 << bits or bits % 2 else self.events.get((customer, bits // 2))

    def write(self, event: Emitted) -> None:
        """Note an event, before it is sent."""
        self.events[event.customer, event.digit] = event
