"""Can this installation bill with this key? Observations in, verdicts out.

Read: permissions, checks, examination.
"""
