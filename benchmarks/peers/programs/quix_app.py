"""quixstreams: tokens a customer and minute, each id once, exactly-once.

Arguments: bootstrap servers, input topic, output topic, group id, state folder, commit interval in ms.
Output: key customer, value {"start", "end", "value": the total so far}; the last one of a window holds.
"""

import sys
from datetime import datetime, timedelta
from typing import Any

from quixstreams import Application, State  # type: ignore[import-not-found]  # not in the project's environment
from quixstreams.dataframe.windows import Sum  # type: ignore[import-not-found]  # not in the project's environment

WINDOW = timedelta(minutes=1)
GRACE = timedelta(hours=24)


def time_of(value: dict[str, Any], _headers: Any, _timestamp: float, _timestamp_type: Any) -> int:
    """When the usage happened, in ms since the epoch."""
    return int(datetime.fromisoformat(value["time"]).timestamp() * 1000)


def is_first(value: dict[str, Any], state: State) -> bool:
    """Whether this id comes for the first time; remembers it. The library has no expiry for such keys."""
    identity = value["source"] + "\n" + value["id"]
    if state.exists(identity):
        return False
    state.set(identity, 1)
    return True


def tokens_of(value: dict[str, Any]) -> int:
    """What the meter sums."""
    usage = value["usage"]
    return int(usage["input_tokens"] + usage["output_tokens"])


def main(servers: str, source: str, target: str, group: str, folder: str, *, commit_ms: int) -> None:
    """Count until the process is ended."""
    app = Application(
        broker_address=servers,
        consumer_group=group,
        auto_offset_reset="earliest",
        commit_interval=commit_ms / 1000,
        state_dir=folder,
        processing_guarantee="exactly-once",
        auto_create_topics=True,
        consumer_extra_config={"group.instance.id": "one"},
    )
    events = app.topic(source, value_deserializer="json", key_deserializer="str", timestamp_extractor=time_of)
    totals = app.topic(target, value_serializer="json", key_serializer="str")
    frame = app.dataframe(events)
    frame = frame.filter(is_first, stateful=True).apply(tokens_of)
    frame.tumbling_window(WINDOW, grace_ms=GRACE).agg(value=Sum()).current().to_topic(totals)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:6], commit_ms=int(sys.argv[6]))
