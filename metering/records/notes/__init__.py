"""What is noted in usage.ledger beside the chain: comparisons with Stripe's sums, and decisions that rest on them.

Read: evidence, resolution.
"""
