"""Reads the logs and Stripe, and changes nothing: where each partition stands, and whether every number of a bill follows from the events.

In: usage.events, usage.tallies, usage.ledger.  Out: positions, reports, a verdict.
Read: decoder, recount, verification, positions, rejections, reading_check, next_boundary.
"""
