"""Partitions shared among processes by a consumer group, and one worker for each owned partition.

Read: partition_group, membership, owned_partitions, polling, inbox, partition_worker, observing, group_metrics.
"""
