"""How to reach Stripe, for the reporter and for the commands: settings, a bounded client, whose signature a webhook bears.

Read: settings, access, client, signatures.
"""
