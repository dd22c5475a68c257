"""Topic configuration: which settings exist, which the broker honours, and which it refuses because it cannot keep them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from taximeter_sandbox.kafka.settings import MESSAGE_BYTES_DEFAULT


class ConfigRefused(Exception):
    """A topic setting is unknown, malformed, or asks for something this broker does not do."""


def _integer(lowest: int) -> Callable[[str], None]:
    def check(value: str) -> None:
        try:
            number = int(value)
        except ValueError:
            raise ConfigRefused(f"not an integer: {value!r}") from None
        if number < lowest:
            raise ConfigRefused(f"below {lowest}: {value}")

    return check


def _one_of(*allowed: str) -> Callable[[str], None]:
    def check(value: str) -> None:
        if value not in allowed:
            raise ConfigRefused(f"this broker only does {' or '.join(allowed)}, not {value!r}")

    return check


@dataclass(frozen=True, slots=True)
class _Setting:
    default: str
    check: Callable[[str], None]


# Retention, segments and flushing are accepted and shown, so that a topic made for production can be made here too, but nothing is ever
# deleted by age or size. What would change the answer to a client (compaction, recompression) is refused instead.
_SETTINGS: Mapping[str, _Setting] = {
    "cleanup.policy": _Setting("delete", _one_of("delete")),
    "compression.type": _Setting("producer", _one_of("producer")),
    "delete.retention.ms": _Setting("86400000", _integer(0)),
    "file.delete.delay.ms": _Setting("60000", _integer(0)),
    "flush.messages": _Setting("9223372036854775807", _integer(1)),
    "flush.ms": _Setting("9223372036854775807", _integer(0)),
    "index.interval.bytes": _Setting("4096", _integer(0)),
    "max.message.bytes": _Setting(str(MESSAGE_BYTES_DEFAULT), _integer(0)),
    "message.timestamp.after.max.ms": _Setting("9223372036854775807", _integer(0)),
    "message.timestamp.before.max.ms": _Setting("9223372036854775807", _integer(0)),
    "message.timestamp.type": _Setting("CreateTime", _one_of("CreateTime", "LogAppendTime")),
    "min.insync.replicas": _Setting("1", _integer(1)),
    "preallocate": _Setting("false", _one_of("true", "false")),
    "retention.bytes": _Setting("-1", _integer(-1)),
    "retention.ms": _Setting("604800000", _integer(-1)),
    "segment.bytes": _Setting("1073741824", _integer(14)),
    "segment.index.bytes": _Setting("10485760", _integer(4)),
    "segment.jitter.ms": _Setting("0", _integer(0)),
    "segment.ms": _Setting("604800000", _integer(1)),
    "unclean.leader.election.enable": _Setting("false", _one_of("true", "false")),
}


@dataclass(frozen=True, slots=True)
class ConfigEntry:
    """One setting as DescribeConfigs shows it."""

    name: str
    value: str
    is_default: bool


@dataclass(frozen=True, slots=True)
class TopicConfig:
    """The settings of one topic that were given explicitly, over the broker's defaults; sizes in bytes."""

    explicit: Mapping[str, str]
    message_bytes_default: int

    @property
    def log_append_time(self) -> bool:
        """Whether the broker's clock stamps the records."""
        return self.explicit.get("message.timestamp.type") == "LogAppendTime"

    @property
    def message_bytes_max(self) -> int:
        """The largest record batch that is stored, as it arrives: compressed and with its header."""
        return int(self.explicit.get("max.message.bytes", self.message_bytes_default))

    @property
    def in_sync_replicas_min(self) -> int:
        """Replicas an acks=all write must reach; this broker is always one."""
        return int(self.explicit.get("min.insync.replicas", "1"))

    def entries(self) -> list[ConfigEntry]:
        """Every setting, by name."""
        shown = []
        for name, setting in _SETTINGS.items():
            default = str(self.message_bytes_default) if name == "max.message.bytes" else setting.default
            shown.append(ConfigEntry(name, self.explicit.get(name, default), name not in self.explicit))
        return shown


def checked_config(given: Mapping[str, str | None], *, message_bytes_default: int) -> TopicConfig:
    """A topic configuration from what a client asked for; None means the default. Raises ConfigRefused with the setting's name."""
    explicit = {}
    for name, value in given.items():
        setting = _SETTINGS.get(name)
        if setting is None:
            raise ConfigRefused(f"unknown topic setting {name!r}")
        if value is None:
            continue
        try:
            setting.check(value)
        except ConfigRefused as error:
            raise ConfigRefused(f"{name}: {error}") from None
        explicit[name] = value
    return TopicConfig(explicit, message_bytes_default)
