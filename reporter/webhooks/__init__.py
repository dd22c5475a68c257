"""What Stripe posts to us: received, and its error reports written to the ledger as rejections.

Read: endpoint, webhook_server, webhook_intake, error_reports, rejection_recorder, rejection_log, hooks.
"""
