"""HTTP: who may read, and what is answered.

Read: readers_access, console_server.
"""
