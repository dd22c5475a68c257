"""File systems of a few megabytes, so that a disk can be full without hurting anybody. Only root may mount them."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

SIZE: Final = "4m"


class SmallDisks:
    """What was mounted; `unmount` takes it away again."""

    def __init__(self) -> None:
        self._mounted: list[Path] = []

    def mount(self, folder: Path | None) -> Path | None:
        """Put a small file system in the place of a folder; None where that is not allowed. Blocks for a moment."""
        mount = shutil.which("mount")
        if folder is None or mount is None or os.geteuid() != 0:
            return None
        folder.mkdir(parents=True, exist_ok=True)
        if subprocess.run([mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)], check=False, capture_output=True).returncode:
            return None
        self._mounted.append(folder)
        return folder

    def unmount(self) -> None:
        """Take all of them away. Blocks for a moment."""
        while self._mounted:
            subprocess.run(["umount", "--lazy", str(self._mounted.pop())], check=False, capture_output=True)
