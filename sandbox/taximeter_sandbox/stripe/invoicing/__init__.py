"""The course of subscriptions: they start, their periods end, usage is invoiced and paid."""
