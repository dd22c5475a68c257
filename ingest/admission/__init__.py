"""Who may send events, how fast, and how much may be under way at once.

Read: api_keys, rate_limit, byte_budget.
"""
