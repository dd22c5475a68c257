"""What was counted, added up for the next tally. Pure.

Read: rows, window_sums.
"""
