"""A stand-in for Stripe's usage-based billing API that the official library can talk to.

In: Stripe's v1 HTTP API (meters, meter events, adjustments, summaries, customers).
Out: Stripe's answers, faults on request (`/_control`), and the exact books (`/_oracle`).
Guarantees: an event answered with 200 is in the books, and with a journal it survives a kill -9.
Never: imports the pipeline, uses floating point for a quantity, or answers with a canned result.
In layers, each importing only what is below it:
  app        the process: pipeline answers calls to Stripe's API, control the simulator's own
  simulator  an account and its settings (configuration), put together
  endpoints  what each call of Stripe's API does to the account
  account    all state and every change to it; billing joins the parts that sell, invoice and check out
  checkout, invoicing, selling, metering, webhooks: the parts. They take a port, never the account itself
  state      clock, ids, journal, tables; traffic beside it: limits, idempotency keys, faults
  http       bodies, parameters, keys, pages, errors, routes
Read: app, pipeline, endpoints.account_routes, account, metering.books. Pure modules take the time as an argument.

Test and live mode share one account here: `livemode` in an answer follows the prefix of the key that asked.
"""
