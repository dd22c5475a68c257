"""What answers a refusal that Stripe counted and did not name: the records of the ledger that found it, or that showed that nothing is missing.

Read: refusal_suspects, answer_fold, answer_reading.
"""
