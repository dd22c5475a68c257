"""What is written to the topics behind usage.events, and the values they are made of. Pure: no I/O and no clock.

Read: chain, tally, ledger_records, dead_letter; then meters, window, record, service_limits, fail_closed; integer_columns, batch_decoding.
"""
