"""Stand-ins for Kafka and Stripe, for development and tests. They import nothing of the pipeline, so they cannot share its mistakes."""
