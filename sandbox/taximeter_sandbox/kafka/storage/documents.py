"""Small JSON documents on disk that are replaced as a whole: a reader sees the old one or the new one."""

import json
import os
from pathlib import Path
from typing import Any


def read_document(path: Path) -> Any:
    """The document at ``path``, or None if there is none. Raises ValueError if it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except FileNotFoundError:
        return None


def write_document(path: Path, content: Any) -> None:
    """Replace the document at ``path``, forced to the disk first so that a crash cannot leave an empty one. May block on the disk."""
    draft = path.with_name(path.name + ".new")
    with draft.open("wb") as file:
        file.write(json.dumps(content, separators=(",", ":")).encode())
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
