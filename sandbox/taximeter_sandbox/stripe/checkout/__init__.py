"""Checkout sessions: a customer subscribes on a page."""
