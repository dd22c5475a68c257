"""Who may send a spool: the process that holds the lock beside it. The kernel lets go of a lock when its process dies, however it dies."""

import fcntl
import os
from pathlib import Path


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of this spool file now. Raises OSError. It is asked so briefly that nobody else is kept from the lock."""
    try:
        lock = os.open(path.with_name(f"{path.name}.lock"), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def try_lock(path: Path) -> int | None:
    """The descriptor of the held lock of this spool file, or None when another process holds it. Raises OSError."""
    beside = path.with_name(f"{path.name}.lock")
    lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have removed the file it was on: then this lock guards nothing.
        if os.fstat(lock).st_ino == beside.stat().st_ino:
            return lock
    except OSError as error:
        if not isinstance(error, BlockingIOError | FileNotFoundError):
            os.close(lock)
            raise
    os.close(lock)
    return None
