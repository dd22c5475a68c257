"""What the services share. It knows no service.

In folders, each importing only what is above it in this list:
  records        tally, ledger, chain, dead letter, meters, window: what the services say to each other. Pure.
  folds          the same records in log order, folded into what is accepted, open and settled. Pure.
  configuration  settings, and values that are never printed.
  process        logs, metrics, probes: what every process needs to run.
  tracing        spans of sampled requests, for a collector.
  kafka          topics, clients, partitions by offset.
  stripe         the settings and the client of each process that talks to Stripe.
  workers        partitions shared among processes, one worker for each.
  reconciliation the ledger compared with Stripe's own sums, by the reporter and by commands.

The words of a single event are below all of this, in taximeter_emitter.wire: emitters need them, too.
Entry rule: two services use it, or two services exchange it.
"""
