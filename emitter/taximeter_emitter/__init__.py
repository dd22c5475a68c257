"""Emit usage events to Taximeter from a Python service: never blocks, never raises, counts what it drops.

Read: emitter, buffer, background, collecting, spool, sender, transports, logs; then wire.
"""

from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.emitter import Emitter, EmitterStats
from taximeter_emitter.transports.gateway_options import GatewayOptions
from taximeter_emitter.transports.kafka_options import KafkaOptions
from taximeter_emitter.wire.errors import EventRejected, Reason, TaximeterError

__all__ = ["Emitter", "EmitterCounts", "EmitterStats", "EventRejected", "GatewayOptions", "KafkaOptions", "Reason", "TaximeterError"]
