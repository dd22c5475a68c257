"""Receives the events that Stripe posts, and writes its error reports to the ledger as rejections.

Read: endpoint, webhook_server, webhook_intake, error_reports, rejection_recorder, rejection_log, hooks.
"""
