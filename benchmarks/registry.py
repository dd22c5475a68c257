"""The paths that are measured, in the order of the table. A module is imported only when it is listed here."""

from collections.abc import Sequence
from typing import Final

from benchmarks import aggregator
from benchmarks.paths import Path

PATHS: Final[Sequence[Path]] = (*aggregator.PATHS,)


def chosen(only: Sequence[str]) -> list[Path]:
    """The paths whose names begin with one of these; all for none. Raises ValueError for a name that fits no path."""
    for beginning in only:
        if not any(path.name.startswith(beginning) for path in PATHS):
            raise ValueError(f"no path begins with {beginning!r}; there are {', '.join(path.name for path in PATHS)}")
    return [path for path in PATHS if not only or path.name.startswith(tuple(only))]
