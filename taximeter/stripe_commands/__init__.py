"""The commands under `taximeter stripe`, a module each; `arguments` is what they take, `connection` is how they reach Stripe."""
