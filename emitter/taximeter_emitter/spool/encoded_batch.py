"""A parcel: the bytes of one closed batch or heartbeat on their way to Kafka. They are never changed again, however often they are sent."""

from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Parcel:
    """`count` events of `partition` from number `first_seq` (0 events: a heartbeat); `row` is its place in the spool, 0 when it has none."""

    partition: int
    first_seq: int
    count: int
    value: bytes
    row: int = 0
