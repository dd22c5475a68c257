"""Customers, prices, subscriptions, usage and invoices as Stripe has them.

Read: customers, prices, subscribing, checkout, calendar, usage, invoices, single_events.
"""
