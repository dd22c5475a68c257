"""Start the Kafka-protocol broker that the demo and the tests run on, whichever this machine can offer.

Read: choose, interface, apache, apache_cluster, apache_node, embedded, docker_engine, external, child_process.
"""
