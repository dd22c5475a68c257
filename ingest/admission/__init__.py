"""Who may send events, how fast, and how many bytes may be in flight at once.

Read: api_keys, rate_limit, new_emitters, key_labels, byte_budget.
"""
