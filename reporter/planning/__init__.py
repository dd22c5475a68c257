"""Tallies in, intents out: what will be reported to Stripe, and which billing period it falls in. Pure.

Read: planner, unplanned, billing_periods, ended_periods.
"""
