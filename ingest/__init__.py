"""Take usage events in over HTTP and make them durable in Kafka.

In: POST /v1/events.  Out: topic usage.events, as numbered batches of one partition each.
Guarantee: 202 means Kafka acknowledged with acks=all, and any other answer says so of each event.
Never: aggregates, deduplicates, reads a topic, or talks to Stripe.
Read: app, admission, requests, publishing; then refusals, metrics and settings.
"""
