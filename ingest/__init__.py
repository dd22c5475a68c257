"""The gateway: takes usage events over HTTP and makes them durable in Kafka. The package is called `ingest`, the service is called gateway.

In: POST /v1/events.  Out: topic usage.events, as numbered batches of one partition each.
Guarantee: 202 means that Kafka acknowledged every event with acks=all. Any other answer names the events that it does not hold for.
Never: aggregates, deduplicates, reads a topic, or talks to Stripe.
Read: app, admission, requests, publishing, tracing; then refusals, metrics and settings.
"""
