"""HTTP: who may read, and what is answered.

Read: access, console_server.
"""
