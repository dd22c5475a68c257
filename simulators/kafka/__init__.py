"""A broker that speaks the Kafka protocol from one process, for the demo and the tests: a stand-in, never for production.

In: any Kafka client on one TCP port (message classes by kio), and test faults on a control port.
Out: record batches kept as the opaque bytes they arrive in, in append-only files; a kill -9 loses nothing acknowledged.
Never: replicates, compacts, applies retention, speaks transactions or decodes a record it does not have to. What it does not do it
refuses with the protocol's own error.
Read: server, connection, api_table, api_produce, api_fetch, partition_log, group, topics, committed_offsets, faults.
"""
