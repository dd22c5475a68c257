"""What counts: one partition's records in, tallies and dead letters out. Synchronous, no I/O, no clock.

Read: counting_rules, counting, numbering, judging, noting, pending_tally; then sequences, emitter_numbers, emitter_digests.
"""
