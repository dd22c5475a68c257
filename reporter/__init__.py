"""Tell Stripe, once, what was counted.

In: topic usage.tallies.  Out: Stripe meter events; topic usage.ledger (intents, receipts and rejections).
In, beside it: Stripe's webhooks, of which error reports become rejections.
Guarantee: no meter event is sent before the intent to send it, identifier included, is accepted in the ledger; an outcome that is unknown is
retried with the same identifier while Stripe remembers it, and never after.
Never: counts events, trusts committed offsets, or sends usage that the ledger does not cover.
Read: app, worker, takeover, planning, dispatch, sending, stripe, mailbox; then period_reader, webhooks and correcting.
"""
