"""Take usage events in, from Python code or over HTTP, and make them durable in Kafka.

In: `Emitter.emit`, POST /v1/events.  Out: topic usage.events, as numbered batches of one partition each.
Guarantee: 202 means Kafka acknowledged with acks=all, and any other answer says so of each event; an emitter counts whatever it lets go of.
Never: aggregates, deduplicates, reads a topic, or talks to Stripe.
Read: batching; emitter, buffered, intake, outbox, spool, shipping; app, edge, handlers, bodies, columns, staging, publisher.
"""
