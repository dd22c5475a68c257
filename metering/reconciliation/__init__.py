"""Compare what the ledger says Stripe has with what Stripe's summaries say, by customer, meter and hour or day.

Read: cells, comparison, ledger_cells, reconciler.
"""
