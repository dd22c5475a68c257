"""The ways out of the process.

Read: kafka_producer.
"""
