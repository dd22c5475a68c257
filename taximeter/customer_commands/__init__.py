"""`taximeter customers`: who is billed at Stripe for the customers that model servers know, and what waits because nobody is.

Read: arguments; held_usage, link_changes; linking, links_shown.
"""
