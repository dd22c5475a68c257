"""Links customers as a metadata field of Stripe's customers says.

Read: naming_customers, metadata_following.
"""
