"""What was counted, added up for the next tally. Pure.

Read: rows, series, window_sums, batch_sums, plain_sums.
"""
