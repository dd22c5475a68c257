"""Count usage events per customer, meter and window, each exactly once, and prove it.

In: topic usage.events (batches, single events).  Out: topic usage.tallies, one record a flush; topic usage.deadletters.
Guarantee: the accepted tallies of a partition are an unbroken chain of offset ranges, and each event of a range has exactly one outcome.
Never: talks to Stripe, trusts committed offsets, or skips a record without a reason.
Read: app, worker, takeover, tally_log, reading, core, ids, sums, snapshots, suspects, set_aside; then repair, stepping_over.
"""
