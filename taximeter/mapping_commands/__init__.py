"""`taximeter mappings`: what the gateway makes of other programs' records."""
