"""`taximeter trace` and `taximeter explain`: from an event to the bill, and back."""
