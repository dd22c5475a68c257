"""Batches that Kafka does not have yet: in memory, and on disk while Kafka is away.

Only where there is a directory for spools is SQLite loaded.
Read: encoded_batch, outbox, unsent, spool_directory, spool_file, spool_lock, spool, unplaced, placing, spool_failed.
"""
