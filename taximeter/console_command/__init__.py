"""`taximeter console`."""
