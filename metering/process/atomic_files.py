"""Files that are replaced as a whole: a reader sees the old content or the new one, never half of it."""

import os
from pathlib import Path


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o666, sync: bool = False) -> None:
    """Write a file beside `path`, then rename it to `path`. Text is written as UTF-8. Blocks for the disk. Raises OSError.

    `mode`: permissions of a new file, before the umask; a file of keys is private. `sync`: wait until the content is on the disk, so that
    not even a crash of the machine leaves an empty file. Without it the file survives a crash of the process.
    """
    draft = path.with_name(f"{path.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)
        if sync:
            file.flush()
            os.fsync(file.fileno())
    draft.replace(path)
