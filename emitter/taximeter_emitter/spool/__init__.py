"""Batches that Kafka does not have yet: in memory, and on disk while Kafka is away.

Read: encoded_batch, outbox, unsent; spool_directory, spool, spool_failed. The middle two are loaded only where there is a directory for spools.
"""
