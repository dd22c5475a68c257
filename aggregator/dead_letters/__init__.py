"""What was set aside, and taking it back: dead letters led back to their events, and redrives.

Read: letter_events, letter_book, redrive_plan, counted_identities, redriving.
"""
