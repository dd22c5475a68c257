"""The ways out of the process.

What talks to Kafka needs the extra `kafka`.
Read: batch_producer, kafka_options, kafka_connection, aiokafka_internals, client_logs, kafka_producer.
"""
