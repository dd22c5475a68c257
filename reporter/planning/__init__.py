"""Tallies in, intents out: what will be told to Stripe, and in which billing period it falls. Pure.

Read: planner, unplanned, billing_periods, ended_periods.
"""
