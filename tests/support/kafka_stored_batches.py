"""aiokafka's own reading of stored record batches, as an independent check."""

from aiokafka.record.default_records import DefaultRecordBatch
from taximeter_sandbox.kafka.storage.batch import parse_prefix


def stored_batches(data: bytes) -> list[DefaultRecordBatch]:
    """The batches in a piece of log, each with a valid checksum, by aiokafka's reader; the piece must hold whole batches only."""
    batches = []
    position = 0
    while position < len(data):
        _, size = parse_prefix(data, position)
        assert position + size <= len(data), "the last batch is cut"
        batch = DefaultRecordBatch(data[position : position + size])
        assert batch.validate_crc()
        batches.append(batch)
        position += size
    return batches
