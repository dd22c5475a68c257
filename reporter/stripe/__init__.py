"""Stripe's API, for the reporter: meter events by version 1 and by the stream of version 2, subscriptions, notifications.

Read: meter_events_v1, stream, stream_requests, stream_session, adjustments, replies, prepared_bodies; subscriptions, notifications.
"""
