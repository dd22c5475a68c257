"""What every call to Stripe's API consists of: bodies, parameters, keys, pages, errors, and what a route is."""
