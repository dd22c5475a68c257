"""The whole pipeline as separate processes, under load, with kills and a full replay, compared with what the load says it sent.

In: how many events and customers, which broker, which Stripe.  Out: a live view, a closing table, EXACT or the differences.
Never: takes a number for the comparison from the pipeline's own counters.
Read: plan, workload, journal, load, books; processes, installation, watching, view; replay, story, closing.
"""
