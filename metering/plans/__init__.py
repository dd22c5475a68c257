"""What a plan of adjustments says of itself: which usage is meant, and what becomes of it.

In: what a person asked for.  Out: the header that the log keeps.  Never: rows, or I/O. Read first: usage_selector, plan_header.
"""
