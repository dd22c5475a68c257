"""Record batches as a broker stores them, with transactions: by aiokafka's own builder, and markers byte by byte."""

from collections.abc import Sequence

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from crc32c import crc32c

ABORT, COMMIT = 0, 1


def stored(base: int, count: int, *, producer: int = -1, transactional: bool = False, compression: int = 0) -> bytes:
    """A batch of `count` records from offset `base` on."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=transactional,
        producer_id=producer,
        producer_epoch=0 if producer >= 0 else -1,
        base_sequence=0 if producer >= 0 else -1,
        batch_size=10**6,
    )
    for number in range(count):
        assert builder.append(number, 1_000 + number, b"key", b"value" * 9, [])
    return _placed(bytes(builder.build()), base)


def marker(base: int, kind: int, *, producer: int) -> bytes:
    """The end of a transaction: a control batch with one record."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=True, producer_id=producer, producer_epoch=0, base_sequence=-1, batch_size=10**6
    )
    key, value = (0).to_bytes(2, "big") + kind.to_bytes(2, "big"), b"\0" * 6
    assert builder.append(0, 1_000, key, value, [])
    data = bytearray(_placed(bytes(builder.build()), base))
    data[22] |= 0x20
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


def compacted(base: int, count: int, *, left: Sequence[int]) -> bytes:
    """What compaction leaves of a batch: records at these places, and a header that keeps the whole range."""
    builder = DefaultRecordBatchBuilder(
        magic=2, compression_type=0, is_transactional=False, producer_id=-1, producer_epoch=-1, base_sequence=-1, batch_size=10**6
    )
    for number in left:
        assert builder.append(number, 1_000, b"key", b"value", [])
    data = bytearray(_placed(bytes(builder.build()), base))
    data[23:27] = (count - 1).to_bytes(4, "big")
    data[17:21] = crc32c(bytes(data[21:])).to_bytes(4, "big")
    return bytes(data)


def _placed(batch: bytes, base: int) -> bytes:
    return base.to_bytes(8, "big") + batch[8:]
