"""HTTP: who may read, and what is answered.

Read: readers_access, page_answers, console_server.
"""
