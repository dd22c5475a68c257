"""Mappings: what of another program's records is which field of an event. Pure.

The tables are data. They are checked and compiled when the gateway starts, and bytes go in and documents of events come out.
"""
