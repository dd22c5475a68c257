"""A game day: faults in turn on real processes under a real Prometheus and Alertmanager. `make gameday`, or `python -m tests.chaos.gameday`.

It prints what was sent to whom and when, what `taximeter doctor` said, and whether the bill is exact at the end.
"""
