"""Batches that an emitter numbered, on their way to Kafka as they are."""

from dataclasses import dataclass

from taximeter_emitter.buffer.batching import PartitionBatch
from taximeter_emitter.transports.batch_producer import RecordHeaders
from taximeter_emitter.wire.emitter_names import KEY_NAME_HEADER

from metering.configuration.key_file import ApiKey


@dataclass(eq=False, slots=True)
class EmitterBatch:
    """The bytes of a batch or heartbeat of `count` events. Its numbers are its emitter's, who sends it again if need be.

    `key_name`: of the API key that it was sent with; "" for none.
    """

    partition: int
    count: int
    value: bytes
    key_name: str = ""

    @property
    def headers(self) -> RecordHeaders:
        """The name of the key, for people who look up who sent it."""
        return [(KEY_NAME_HEADER, self.key_name.encode())] if self.key_name else ()

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.value)


def name_of(key: ApiKey | None) -> str:
    """What its records call a key; "" where nobody needs one."""
    return "" if key is None else key.name


BatchUnderWay = PartitionBatch | EmitterBatch
"""A batch of the gateway's own, or of an emitter."""
