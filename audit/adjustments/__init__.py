"""What a plan of adjustments changes, derived from the logs alone: the same code makes a plan and proves it again.

In: accepted tallies, their records, the plan's header.  Out: rows with a sign, in parts.  Never: writes. Read first: selected_events, signed_sums,
plan_derivation.
"""
