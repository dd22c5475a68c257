"""Compares what the ledger says with Stripe's sums, all the time and within a share of the account's reads. Reporting never waits for it.

Read: doubt_book, report_suspects, questions, summary_lag, read_budget, comparer.
"""
