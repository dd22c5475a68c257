"""What stands between a call and its endpoint: rate limits, lanes, idempotency keys, faults."""
