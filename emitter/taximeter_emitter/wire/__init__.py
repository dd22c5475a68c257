"""What crosses a border: an event, a batch of events, the partition of a customer, and the limits that both sides keep.

Owned here and imported by the services. Pure: standard library and orjson only.
Read: limits, errors, event, batch, packed, partitioner.
"""
