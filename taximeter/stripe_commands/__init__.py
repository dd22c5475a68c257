"""The commands under `taximeter stripe`, a module each; `connection` is how they reach Stripe."""
