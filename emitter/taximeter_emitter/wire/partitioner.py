"""Which partition a customer is in: Kafka's own default partitioner, so that any producer that keys by customer agrees with us."""

import struct
from functools import lru_cache
from typing import Final

_CUSTOMERS_CACHED: Final = 65_536
_SIGN_BIT_OFF: Final = 0x7FFFFFFF
_BITS_32: Final = 0xFFFFFFFF
_SEED: Final = 0x9747B28C
_MULTIPLIER: Final = 0x5BD1E995


@lru_cache(maxsize=_CUSTOMERS_CACHED)
def partition_of(customer: str, partitions: int) -> int:
    """The partition, from 0 to `partitions` - 1, of a record whose key is this customer in UTF-8."""
    return (murmur2(customer.encode()) & _SIGN_BIT_OFF) % partitions


def murmur2(data: bytes) -> int:
    """MurmurHash2 of 32 bits, with Kafka's seed."""
    words, rest = divmod(len(data), 4)
    mixed = _SEED ^ len(data)
    for (word,) in struct.iter_unpack("<I", data[: 4 * words]):
        stirred = word * _MULTIPLIER & _BITS_32
        mixed = (mixed * _MULTIPLIER ^ (stirred ^ stirred >> 24) * _MULTIPLIER) & _BITS_32
    if rest:
        mixed = (mixed ^ int.from_bytes(data[-rest:], "little")) * _MULTIPLIER & _BITS_32
    mixed = (mixed ^ mixed >> 13) * _MULTIPLIER & _BITS_32
    return mixed ^ mixed >> 15
