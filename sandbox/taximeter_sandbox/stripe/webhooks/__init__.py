"""What happened on the account, and its way to webhook endpoints."""
