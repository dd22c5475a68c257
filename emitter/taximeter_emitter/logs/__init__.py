"""What the emitter writes to its logger, `taximeter.emitter`, and how seldom; and a limit for what a client library writes.

Read: message_limiter, refusal_log, flood_filter.
"""
