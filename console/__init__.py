"""The console: what each customer used, what became of it and what waits, folded from the log into a store of its own. It reads only.

A page for people and `GET /v1/usage` for programs, off the public ports. The store may be deleted at any time: it is rebuilt from the log.

Read: settings, folding, store, following, answering, pages, serving, app.
"""
