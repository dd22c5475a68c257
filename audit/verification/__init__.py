"""Re-read the log and check every equation that a bill rests on: nothing here trusts a counter or a service.

In: usage.events, usage.tallies, usage.ledger.  Out: a report, and a verdict.
Read: verifier, partition, span, emitters, intent_check, forwarding, report, verdict.
"""
