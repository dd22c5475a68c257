"""Why a partition stopped, beside the offset that its owner commits for lag tools: so that commands can say it without asking the process."""

from typing import Final

from metering.records.fail_closed import FailClosed

NOTE_CHARS_MAX: Final = 1_000  # brokers take 4,096 bytes
_STOPPED: Final = "stopped: "


def stop_note(error: FailClosed) -> str:
    """What to commit."""
    return f"{_STOPPED}{type(error).__name__}: {error}"[:NOTE_CHARS_MAX]


def stop_reason(note: str | None) -> str | None:
    """The class and the words of what stopped the partition; None if the note says nothing of it."""
    return note[len(_STOPPED) :] if note and note.startswith(_STOPPED) else None
