"""Events of many requests into shared batches, batches to Kafka, and to each request what became of its events.

Read: pending_requests, staging, publisher, abandoned_numbers.
"""
