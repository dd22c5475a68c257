"""Re-read the log and check every equation that a bill rests on: nothing here trusts a counter or a service.

In: usage.events, usage.tallies, usage.ledger.  Out: a report, and a verdict.
Read: report, span, tally_check, emitters, intent_check, verifier.
"""
