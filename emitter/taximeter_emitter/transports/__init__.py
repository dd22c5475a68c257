"""The ways out of the process.

What talks to Kafka needs the extra `kafka`; what talks to a gateway needs nothing.
Read: batch_producer, kafka_options, kafka_connection, aiokafka_internals, client_logs, kafka_producer; gateway_options, http_answer,
gateway_connection, gateway_requests, gateway_producer.
"""
