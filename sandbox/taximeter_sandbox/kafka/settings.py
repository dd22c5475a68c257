"""The settings of one embedded broker."""

from dataclasses import dataclass
from pathlib import Path

#: The node id this broker gives itself everywhere.
NODE_ID = 1
#: Kafka's default for max.message.bytes.
MESSAGE_BYTES_DEFAULT = 1_048_588


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerSettings:
    """Settings of one broker process; durations in seconds or milliseconds as named, sizes in bytes.

    ``fsync_each_append`` forces every append to the disk before it is acknowledged. Without it (Kafka's own default) a kill of the
    process loses nothing, because the page cache belongs to the system; a power cut may.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 0
    advertised_port: int | None = None
    control_port: int | None = None
    partitions_default: int = 8
    partitions_max: int = 4096
    message_bytes_max: int = MESSAGE_BYTES_DEFAULT
    request_bytes_max: int = 100 * 1024 * 1024
    fetch_bytes_max: int = 16 * 1024 * 1024
    connections_max: int = 1024
    fsync_each_append: bool = False
    session_timeout_ms_min: int = 500
    session_timeout_ms_max: int = 1_800_000
    group_members_max: int = 1000
    groups_max: int = 10_000
    offset_metadata_bytes_max: int = 4096
