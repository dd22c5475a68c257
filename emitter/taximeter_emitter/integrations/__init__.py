"""Usage of model calls, read from what clients and servers already say, and emitted once for each call.

Nothing here is imported with the package itself, and no library of a provider is imported before it is used.

Read: usage, then model_calls.
"""

from taximeter_emitter.integrations.model_calls import CallCounts, ModelCall, ModelCalls

__all__ = ["CallCounts", "ModelCall", "ModelCalls"]
