"""Has an event with this id been counted inside the horizon? Exact, in memory and in files.

Read: id_index, recent_ids, id_archive, id_table, fingerprints, id_files.
"""
