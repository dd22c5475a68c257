"""Report counted usage to Stripe, once.

In: topic usage.tallies.  Out: Stripe meter events; topic usage.ledger (intents, receipts and rejections).
Also in: Stripe's webhooks. Error reports become rejections.
Guarantee: no meter event is sent before the intent to send it, identifier included, is accepted in the ledger. An attempt whose outcome is
unknown is repeated with the same identifier while Stripe remembers it, and never after.
Never: counts events, trusts committed offsets, or sends usage that the ledger does not cover.
Read: app, worker, takeover, planning, dispatch, sending, stripe, mailbox; then period_reader, webhooks and correcting.
"""
