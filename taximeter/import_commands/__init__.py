"""The side of `taximeter replay plan` and `taximeter replay apply` that brings in events of a file or of another topic.

Read: import_arguments, import_directory, import_text, planning_imports, applying_imports, listing_imports.
"""
