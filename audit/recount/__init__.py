"""Counts what the tallies counted again, from the raw records alone: quantities, numbers of emitters, and what did not count and why.

In: tallies and records, in order.  Out: sentences about what differs, and what is set aside.  Never: I/O, or a rule of the aggregator's code.
"""
