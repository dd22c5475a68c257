"""In what order, when and how fast meter events are attempted, and what a reply means for them. Pure.

Read: meter_events, lanes, pacing, verdicts.
"""
