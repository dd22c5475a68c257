"""The native reader against the plain way: the same bytes, read by both. `python -m tests.native` runs a campaign."""
