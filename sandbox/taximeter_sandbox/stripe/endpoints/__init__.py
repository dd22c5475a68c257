"""Stripe's endpoints: what each call does to the account, and the page of a checkout session."""
