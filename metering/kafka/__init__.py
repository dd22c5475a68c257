"""Kafka: the topics, the clients, and single partitions read and appended to by offset.

Read: topics, clients, provision, batches, tolerant_fetching, partition_log, ledger_log.
"""
