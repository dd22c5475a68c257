"""Start the Kafka-protocol broker that the demo and the tests run on, whichever this machine can offer.

Read: choose, interface, apache, embedded, docker_engine, external, child_process.
"""
