"""Events in memory: checked, kept within a bound, and gathered into numbered batches.

In the emitter's thread: partition_cache and batching.
Read: event_encoding, emit_buffer, partition_cache, batching.
"""
