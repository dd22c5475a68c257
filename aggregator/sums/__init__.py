"""What was counted, added up for the next tally. Pure.

Read: rows, series_meters, window_sums, latest_values.
"""
