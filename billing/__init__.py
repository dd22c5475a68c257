"""Stripe's side of a bill: meters, products, prices, customers, subscriptions, usage and invoices, through the official library.

In: a `stripe.StripeClient` (metering.stripe_client makes a bounded one; your own does as well) and the settings file. Out: what Stripe has, as
small frozen records. Nothing here takes part in metering: the services run without it. The commands `taximeter stripe ...` stand on it.
"""
