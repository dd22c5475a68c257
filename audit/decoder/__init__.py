"""Reads usage.events by code of its own, written from docs/schemas: a fault of the aggregator's reader is not repeated here.

In: records.  Out: the events in them, or why there are none.  Never: judges by what came before; tallies say which events did not count.
"""
