"""Options of the gateway."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from taximeter_emitter.buffer.batching import BATCH_EVENTS_DEFAULT
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX

from ingest.admission.new_emitters import NEW_EMITTERS_PER_DAY
from metering.configuration.key_file import BadKeysFile, read_keys
from metering.configuration.settings import option
from metering.process.connections import HEAD_BYTES_MAX
from metering.process.descriptors import descriptor_problem

BODIES_MIN: Final = 16
EVENT_BYTES_MIN: Final = 40
HEADS_PER_BYTE_IN_FLIGHT: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """Section `gateway`."""

    host: str = option(doc="Address that events are taken on; in a container usually 0.0.0.0.", default="127.0.0.1")
    port: int = option(doc="Port that events are taken on; 0 takes a free one, which is logged.", default=8080, minimum=0, maximum=65535)
    port_file: Path | None = option(doc="File to write the port's number into, for the program that started the process.", default=None)
    api_keys_file: Path | None = option(
        doc="TOML file with the keys of everybody who may send events; it is read again when it changes. It holds digests, no secrets.", default=None
    )
    new_emitters_per_day: int = option(
        doc=(
            "How many emitters a key may bring to /v1/batches of one gateway at once; it gets them back over a day. A further one is answered with"
            " 429, and keeps its events. Aggregators remember each for weeks."
        ),
        default=NEW_EMITTERS_PER_DAY,
        minimum=1,
        maximum=100_000,
    )
    anonymous: bool = option(doc="Take events from anybody, without a key; for development only.", default=False)
    body_bytes_max: int = option(doc="Largest request body.", default=1024 * 1024, unit="bytes", minimum=1024, maximum=16 * 1024 * 1024)
    events_max: int = option(doc="Most events in one request.", default=1_000, minimum=1, maximum=10_000)
    in_flight_bytes_max: int = option(
        doc=(
            "Request bodies, what was decoded from them, and batches that Kafka has not acknowledged, together; a request that would exceed"
            " this is refused with 503. The process takes about 100 MiB, this, and 28 times body_bytes_max."
        ),
        default=64 * 1024 * 1024,
        unit="bytes",
        minimum=1024 * 1024,
        maximum=4 * 1024 * 1024 * 1024,
    )
    connections_max: int = option(
        doc="Most connections at once; a further one takes the place of the one that has waited longest without a request.",
        default=1_000,
        minimum=1,
        maximum=100_000,
    )
    connections_per_address_max: int = option(
        doc="The same among connections of one remote address (of IPv6: its first 64 bits); 0 for no limit, as behind a load balancer.",
        default=500,
        minimum=0,
        maximum=100_000,
    )
    read_seconds: float = option(
        doc="How long a client may take to send a request's head, and how long for its body.",
        default=10.0,
        unit="seconds",
        minimum=0.1,
        maximum=300,
    )
    acknowledge_seconds: float = option(
        doc=(
            "How long a request waits for Kafka's acknowledgement before it is answered with 503. Kafka needs nine seconds to replace a broker that"
            " went silent, and three more if that one was the controller."
        ),
        default=18.0,
        unit="seconds",
        minimum=0.1,
        maximum=300,
    )
    linger_seconds: float = option(
        doc="How long an event waits at most for others of its partition; it does not wait while nothing is on its way to Kafka.",
        default=0.005,
        unit="seconds",
        minimum=0,
        maximum=1,
    )
    batch_events_max: int = option(doc="Most events in one record.", default=BATCH_EVENTS_DEFAULT, minimum=1, maximum=BATCH_EVENTS_MAX)
    keep_ids: bool = option(
        doc=(
            "Keep the ids of events as texts, too, so that `taximeter trace` and `explain` show them. All aggregators and commands must be of a"
            " version that knows this."
        ),
        default=False,
    )
    heartbeat_seconds: float = option(
        doc="How often a heartbeat in a silent partition says how many events were sent to it.", default=60.0, unit="seconds", minimum=1, maximum=3600
    )
    pre_stop_seconds: float = option(
        doc="How long a stopping gateway still takes requests while it reports itself as not ready, so that load balancers can turn away.",
        default=0.0,
        unit="seconds",
        minimum=0,
        maximum=300,
    )

    def problems(self) -> tuple[str, ...]:
        """Broken rules between the fields."""
        found = []
        if self.anonymous == (self.api_keys_file is not None):
            found.append("give either api_keys_file, or anonymous = true for development")
        if self.api_keys_file is not None:
            try:
                read_keys(self.api_keys_file)
            except BadKeysFile as bad:
                found += [f"api_keys_file: {problem}" for problem in bad.problems]
        if BODIES_MIN * self.body_bytes_max > self.in_flight_bytes_max:
            found.append(f"in_flight_bytes_max must have room for {BODIES_MIN} bodies of body_bytes_max: {BODIES_MIN * self.body_bytes_max}")
        if EVENT_BYTES_MIN * self.events_max > self.body_bytes_max:
            found.append(f"events_max {self.events_max} do not fit into body_bytes_max: an event has at least {EVENT_BYTES_MIN} bytes")
        descriptors = descriptor_problem(self.connections_max)
        if descriptors is not None:
            found.append(descriptors)
        heads = self.connections_max * HEAD_BYTES_MAX
        if heads > HEADS_PER_BYTE_IN_FLIGHT * self.in_flight_bytes_max:
            found.append(
                f"connections_max {self.connections_max} may hold {heads} bytes of incomplete heads, more than {HEADS_PER_BYTE_IN_FLIGHT} times"
                " in_flight_bytes_max: lower one, or raise the other"
            )
        return tuple(found)
