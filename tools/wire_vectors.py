"""Test vectors of the wire: what an emitter in another language has to compute, worked out by the code, in docs/schemas/wire-vectors.json."""

from typing import Any, Final

import orjson
from taximeter_emitter.wire.batch import PACKED_FROM, Batch, encode_batch
from taximeter_emitter.wire.emitter_names import emitter_name, proven_names
from taximeter_emitter.wire.event import Dimensions, fingerprint
from taximeter_emitter.wire.packed import pack
from taximeter_emitter.wire.partitioner import partition_of

VECTORS_PATH: Final = "docs/schemas/wire-vectors.json"
_ABOUT: Final = (
    "Each list has inputs and what they give. partitions: Kafka's default partitioner, murmur2 of the customer in UTF-8. fingerprints: BLAKE2b with"
    " 16 bytes of the length of the source in bytes (4 bytes, big endian), the source and the id, in hexadecimal digits; see fingerprint in"
    " emitter/taximeter_emitter/wire/event.py. names: of an emitter, by its secret. columns: integers as text. batches: the fields of a batch and"
    " its bytes as text, which the gateway takes only so, and which Kafka gets."
)
_CUSTOMERS: Final = ("cus_1", "cus_123", "cus_NffrFeUfNV2Hib", "a", "größe", "客户", "🙂", "x" * 128)
_SECRET: Final = "0123456789abcdef" * 2
_COLUMNS: Final = ([0], [0, 1, 255], [256], [812, 40, 7], [65_535, 65_536], [2**32 - 1, 2**32], [10**12])


def vectors() -> dict[str, Any]:
    """All vectors."""
    return {
        "about": _ABOUT,
        "partitions": [
            {"customer": customer, "partitions": count, "partition": partition_of(customer, count)}
            for customer in _CUSTOMERS
            for count in (1, 4, 12, 64)
        ],
        "fingerprints": [
            {"source": source, "id": event_id, "fingerprint": fingerprint(source, event_id).hex()}
            for source, event_id in (("", "r-1"), ("inference/eu-1", "r-1"), ("a", "bc"), ("ab", "c"), ("größe", "🙂"))
        ],
        "names": [{"secret": _SECRET, "name": emitter_name(_SECRET), "may_send_as": list(proven_names(_SECRET))}],
        "columns": [{"integers": column, "text": pack(column)} for column in _COLUMNS],
        "batches": [{"fields": _fields(batch), "value": encode_batch(batch).decode()} for batch in _batches()],
    }


def vectors_text() -> str:
    """The file."""
    return orjson.dumps(vectors(), option=orjson.OPT_INDENT_2).decode() + "\n"


def _batches() -> list[Batch]:
    name = emitter_name(_SECRET)
    two: list[Dimensions] = [(("model", "alpaca-7b"),), (("model", "alpaca-70b"), ("region", "größe"))]
    ids = fingerprint("inference/eu-1", "r-1") + bytes(16) + fingerprint("inference/eu-1", "r-2")
    small = Batch(
        name, 0, 1_200, 3, ["cus_1", "cus_1"], two, [0, 1], [0, 1, 0], 1_763_800_000_000, [0, 15, 7], {"input_tokens": [812, 40, 7]}, [1, 0, 1], ids
    )
    count = PACKED_FROM
    tokens = {"input_tokens": [100 * number for number in range(count)], "output_tokens": [number % 3 for number in range(count)]}
    at, times = [number % 2 for number in range(count)], [number * 5 for number in range(count)]
    large = Batch(name, 0, 1_203, count, ["cus_1", "cus_1"], two, [0, 1], at, 1_763_800_000_000, times, tokens, stamped=True)
    return [
        small._replace(partition=partition_of("cus_1", 12)),
        large._replace(partition=partition_of("cus_1", 12)),
        Batch(name, 3, 1_267, 0),
        Batch(name, 3, 1_267, 0, final=True, abandoned=((5, 9),), dropped=2),
    ]


def _fields(batch: Batch) -> dict[str, Any]:
    found = {name: value for name, value in batch._asdict().items() if value not in ((), b"", "", False, {}) and value != 0}
    found |= {"partition": batch.partition, "first_seq": batch.first_seq, "count": batch.count}
    if batch.ids:
        found["ids"] = batch.ids.hex()
    if batch.dimensions:
        found["dimensions"] = [dict(dimensions) for dimensions in batch.dimensions]
    return found
