"""Partitions shared among processes by a consumer group, and one worker for each owned partition.

Read: partition_group, inbox, partition_worker.
"""
