"""What one call of a model used, read from any known response. Pure.

Read: token_counts, then provider_shapes, then running_usage.
"""
