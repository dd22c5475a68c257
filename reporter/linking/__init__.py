"""Links customers as a metadata field of Stripe's customers says, told by webhooks."""
