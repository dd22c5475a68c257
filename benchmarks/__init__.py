"""What each path costs: whole processes on a real broker, in CPU-seconds per million events, as ratios to a bare client in the same run.

Out: a table and JSON (`python -m benchmarks --json FILE`), curves (`--curves`), and the kept results with their pages (`--publish`).  Nothing here
passes or fails: machines differ, ratios between variants of one run are what can be compared.  A path is a module that defines a `Path` (see
paths); registry lists them.
Never: part of the wheel, nor imported by the services.
Read: measurement, targets, paths, watched, usage_load, aggregator, then running and report; kept, pages and capacity; curves.
"""
