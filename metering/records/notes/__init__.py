"""What is noted beside the chains: comparisons with Stripe's sums, decisions that rest on them, and decisions about foreign records.

Read: evidence, resolution, foreign_records.
"""
