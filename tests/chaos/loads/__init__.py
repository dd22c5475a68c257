"""Loads that break themselves: SDK processes that are killed, jobs that live a second, stock producers with transactions.

Read: lives, emitting_life, transactions, unnumbered.
"""
