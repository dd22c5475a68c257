"""A stand-in for Stripe's usage-based billing API that the official library can talk to.

In: Stripe's v1 HTTP API (meters, meter events, adjustments, summaries, customers).
Out: Stripe's answers, faults on request (`/_control`), and the exact books (`/_oracle`).
Guarantees: an event answered with 200 is in the books, and with a journal it survives a kill -9.
Never: imports the pipeline, uses floating point for a quantity, or answers with a canned result.
Read: app, pipeline, endpoints, account, then the small modules they name. Pure modules take the time as an argument.

Test and live mode share one account here: `livemode` in an answer follows the prefix of the key that asked.
"""
