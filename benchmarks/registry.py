"""The paths that are measured, in the order of the table. A module is imported only when it is listed here."""

from collections.abc import Sequence
from typing import Final

from benchmarks import aggregator, catch_up, console, emitter, forms, gateway, ids, many_meters, reporter, reporter_drain, steady
from benchmarks.paths import Path
from benchmarks.peers import measuring as peers

PATHS: Final[Sequence[Path]] = (
    *aggregator.PATHS,
    *forms.PATHS,
    *many_meters.PATHS,
    *steady.PATHS,
    *emitter.PATHS,
    *gateway.PATHS,
    *reporter.PATHS,
    *reporter_drain.PATHS,
)
# Each takes many minutes; the first run of the peers fetches packages, too.
WHEN_NAMED: Final[Sequence[Path]] = (*catch_up.WHEN_NAMED, *console.WHEN_NAMED, *ids.WHEN_NAMED, *reporter_drain.WHEN_NAMED, *peers.PATHS)
KNOWN: Final[Sequence[Path]] = (*PATHS, *WHEN_NAMED)


def chosen(only: Sequence[str]) -> list[Path]:
    """The paths whose names begin with one of these; for none, all that need not be named. Those of WHEN_NAMED are named in full.

    Raises ValueError for a name that fits no path.
    """
    beginnings = tuple(only)
    for beginning in beginnings:
        if not any(_fits(path, (beginning,)) for path in KNOWN):
            raise ValueError(f"no path begins with {beginning!r}; there are {', '.join(path.name for path in KNOWN)}")
    return [path for path in KNOWN if _fits(path, beginnings)] if only else list(PATHS)


def _fits(path: Path, beginnings: tuple[str, ...]) -> bool:
    return path.name in beginnings if path in WHEN_NAMED else path.name.startswith(beginnings)
