"""What counts: one partition's records in, tallies and dead letters out. Synchronous, no I/O, no clock.

Read: counting_rules, counting, sequences, emitter_numbers, emitter_digests, pending_tally.
"""
