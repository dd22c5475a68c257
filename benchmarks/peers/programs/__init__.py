"""The Python peers, each a script that runs in an environment of its own and imports nothing of the project."""
