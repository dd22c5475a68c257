"""What is noted beside the chains: comparisons with Stripe, decisions that rest on them or are about foreign records, ids that were searched for.

Read: evidence, resolution, foreign_records, marked_records, looked_up_ids.
"""
