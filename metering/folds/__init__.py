"""The folds of the chains: what is accepted, open and settled, given the records in log order. Pure: no I/O and no clock.

Read: tallies, ledger, told_readings, corrections, distinct_reports.
"""
