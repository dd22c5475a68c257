"""From records of the log to changes of the store's rows. Pure.

Read: usage_changes, counted_usage, spoken_events, told_usage, letter_lines.
"""
