"""From an event to the bill and back: where it lies, what became of it, and what a sum is made of.

Read: event_search, event_outcomes, tally_search, ledger_search, event_trace, usage_columns, usage_explained.
"""
