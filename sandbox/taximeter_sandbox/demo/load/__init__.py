"""The load of a run: what is emitted, the processes that emit it, and the journals in which they write down what they did.

Read: workload, load_orders, load_plan; load_emitters, load_http, load_records; journal.
"""
