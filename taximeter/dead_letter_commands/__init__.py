"""`taximeter deadletters ...`: what was set aside, and taking it back."""
