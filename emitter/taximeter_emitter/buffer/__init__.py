"""Events in memory: checked, kept within a bound, and gathered into numbered batches.

Read, in the order in which an event passes: event_encoding, emit_buffer; then, in the emitter's thread: partition_cache, batching.
"""
