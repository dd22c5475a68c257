"""What was counted, added up for the next tally. Pure.

Read: rows, series, batch_sums, plain_sums.
"""
