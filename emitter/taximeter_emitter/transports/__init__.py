"""The ways out of the process.

Read: batch_producer, kafka_options, kafka_connection, aiokafka_internals, kafka_producer. The last three need the extra `kafka`.
"""
