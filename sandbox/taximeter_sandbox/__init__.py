"""Taximeter on one machine: stand-ins for Kafka and Stripe, and the demo that runs the whole pipeline on them.

In folders:
  kafka        a broker that speaks the Kafka protocol. Knows nothing of the pipeline.
  stripe       Stripe's usage-based billing API. Knows nothing of the pipeline.
  brokers      starts whichever broker this machine can offer: Docker, Apache Kafka on Java, or the one above.
  demo         the pipeline under load, with kills and a replay, compared with what was emitted.
  signup_page  a page on which a customer signs up, as a site of your own would have.
"""
