"""Which partition a customer is in: Kafka's own default partitioner, so that any producer that keys by customer agrees with us."""

from functools import lru_cache
from typing import Final

from aiokafka.partitioner import murmur2

_CUSTOMERS_CACHED: Final = 65_536
_SIGN_BIT_OFF: Final = 0x7FFFFFFF


@lru_cache(maxsize=_CUSTOMERS_CACHED)
def partition_of(customer: str, partitions: int) -> int:
    """The partition, from 0 to `partitions` - 1, of a record whose key is this customer in UTF-8."""
    return int(murmur2(customer.encode()) & _SIGN_BIT_OFF) % partitions
