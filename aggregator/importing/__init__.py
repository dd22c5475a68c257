"""Bringing in events of a file or of another topic: read, looked up, numbered by their places, written through the front door, each once.

Read: columns, source_entries, event_file, foreign_topic, import_survey, asked_identities, identity_search, import_log, import_writing, importer.
"""
