"""A broker that speaks the Kafka protocol from one process, for the demo and the tests: a stand-in, never for production.

In: any Kafka client on one TCP port (message classes by kio), and test faults on a control port.
Out: record batches kept as the opaque bytes they arrive in, in append-only files; a kill -9 loses nothing acknowledged.
Never: replicates, compacts, applies retention, speaks transactions or decodes a record it does not have to. What it does not do it
refuses with the protocol's own error.
In layers, each importing only what is below it:
  server    one process; control_port beside it arms faults for tests
  protocol  connections, and one handler for each request of Kafka's protocol
  cluster   the broker's state: topics, their configuration, the faults that are armed
  groups    consumer groups: members, generations, committed offsets
  storage   partition logs, their recovery, what is known of producers
Read: server, protocol.connection, protocol.registry, protocol.produce, protocol.fetch, storage.partition_log, groups.group.
"""
