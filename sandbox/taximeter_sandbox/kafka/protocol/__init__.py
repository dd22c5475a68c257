"""Kafka's protocol: one connection a client, the codec of its messages, and one handler for each request."""
