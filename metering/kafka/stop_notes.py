"""What the owner of a partition says of it beside the offset that it commits for lag tools: why it stopped, or which version runs.

So commands can say it without asking the process.
"""

from typing import Final

from metering.records.fail_closed import FailClosed

NOTE_CHARS_MAX: Final = 1_000  # brokers take 4,096 bytes
_STOPPED: Final = "stopped: "
_RUNNING: Final = "running: "


def stop_note(error: FailClosed) -> str:
    """What to commit."""
    return f"{_STOPPED}{type(error).__name__}: {error}"[:NOTE_CHARS_MAX]


def stop_reason(note: str | None) -> str | None:
    """The class and the words of what stopped the partition; None if the note says nothing of it."""
    return note[len(_STOPPED) :] if note and note.startswith(_STOPPED) else None


def running_note(version: str) -> str:
    """What to commit while nothing stops the partition."""
    return f"{_RUNNING}{version}"[:NOTE_CHARS_MAX]


def running_version(note: str | None) -> str | None:
    """The version that its owner runs; None if the note says nothing of it."""
    return note[len(_RUNNING) :] if note and note.startswith(_RUNNING) else None
