"""Requests in other programs' forms: their bodies, the mappings on them, and answers that their senders understand."""
