"""The same job done by other stream processors, side by side with Taximeter's aggregator.

The job: read single JSON events, count each id once, sum tokens per customer and minute, write the sums to a topic, survive a SIGKILL.
In: usage events in a topic of its own for each peer, the same records in the same partitions.  Out: one result a peer, through `benchmarks`.
Guarantees: every peer's answer is compared with the sums of the load, before and after a SIGKILL.
Never: installs anything into the project's own environment; a peer that cannot be had is a row that says why.
Read: README.md, then catalogue, measuring, load, answers, and programs for what the peers do.
"""
