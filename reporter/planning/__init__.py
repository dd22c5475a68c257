"""Tallies in, intents out: what will be reported to Stripe, and which billing period it falls in. Pure.

Read: planner, unplanned, unplanned_readings, usage_forms, billing_periods, ended_periods.
"""
