"""`taximeter reconcile`: the ledger against Stripe's summaries."""
