"""What a plan says of itself: of adjustments, which usage is meant and what becomes of it; of an import, what is brought in and how it is read.

In: what a person asked for.  Out: the record that the log keeps.  Never: rows, or I/O. Read first: usage_selector, plan_header, import_records.
"""
