"""What Stripe refused, lost or may not have: listed, and mended in bulk."""
