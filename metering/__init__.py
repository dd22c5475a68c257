"""The shared vocabulary and machinery of Taximeter. It knows no service.

In layers, each importing only what is below it:
  words      event, batch, window, catalogue, tally, ledger, chain, dead_letter, limits, errors, clock: what the services say to each other.
             Pure: standard library and orjson only.
  machinery  settings, kafka, topics, provision, partition_log, metrics, health, admin, logs, retry: what every service needs to run.
  runner     service starts, supervises and stops one process; partition_group and partition_worker run the partitions it owns.

Entry rule: two services use it, or two services exchange it.
Read: event, batch, tally, chain, ledger.
"""
