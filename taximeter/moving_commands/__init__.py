"""`taximeter topics copy`, `topics catch-up` and `repair adopt`: from one Kafka cluster to another."""
