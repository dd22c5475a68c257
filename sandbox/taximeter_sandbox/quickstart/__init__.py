"""`taximeter quickstart`: everything on this machine without any load, lines to paste, and the bill as it moves.

Read: offer, billed_customer, bill, quickstart.
"""
