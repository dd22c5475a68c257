"""The rows, in SQLite: integers only. Rows and the place up to which the log was folded change in one transaction, so a kill at any time is no harm.

Read: store_schema, store_names, fold_places, usage_store, store_reading.
"""
