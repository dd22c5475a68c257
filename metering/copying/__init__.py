"""The topics of one cluster copied to another: each record at the offset that it had, and with its log time.

Read: copied_topics, copy_target, partition_copy, copy_rounds.
"""
