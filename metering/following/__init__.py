"""The versions of the catalogue, followed in usage.catalogue by every service, and published there by the aggregator's first start and a command.

Read: catalogue_log, catalogue_following, catalogue_metrics.
"""
