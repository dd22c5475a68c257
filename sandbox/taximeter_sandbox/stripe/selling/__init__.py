"""What is sold and to whom: products, prices, customers, subscriptions, payment details."""
