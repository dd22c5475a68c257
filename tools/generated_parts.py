"""Parts of written pages that are made from the code: what is between `<!-- generated: NAME -->` and `<!-- /generated -->`."""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import orjson

from aggregator.ids.id_files import CHUNK_ENTRIES
from aggregator.ids.id_table import ENTRY
from metering.process import probe, service
from taximeter.exit_codes import MEANINGS
from tests.simulation.planted_table import ALL, OFFSETS, table

_ROOT: Final = Path(__file__).parents[1]
_IDS: Final = _ROOT / "benchmarks" / "results" / "ids.json"
_PART: Final = re.compile(r"(?<=<!-- generated: )([\w ]+)( -->\n).*?(?=<!-- /generated -->)", re.DOTALL)
# What a service says with each code; the numbers mean the same as those of the commands.
_SERVICE: Final[Mapping[int, tuple[str, str]]] = {
    service.EXIT_OK: ("It was asked to stop, and drained.", "-"),
    service.EXIT_FAILED: (
        "A task crashed, or draining took longer than `TAXIMETER_SERVICE_DRAIN_SECONDS`.",
        "Restart it, and look at the last error in the log.",
    ),
    probe.EXIT_USAGE: ("Arguments or settings are wrong. Each problem is on stderr.", "Correct them. A restart does not help."),
    service.EXIT_REFUSED: ("It refused to start: Kafka or a topic is not right. Each problem is in the log, with what to do.", "Correct it."),
    service.EXIT_INTERRUPTED: ("SIGINT (Ctrl-C) came while it drained.", "-"),
}


def _exit_codes() -> Iterable[str]:
    yield "| Code | From `taximeter` | From a service | What to do about a service |"
    yield "| --- | --- | --- | --- |"
    for code in sorted({*MEANINGS, *_SERVICE}):
        meaning, advice = _SERVICE.get(code, ("-", "-"))
        yield f"| {code} | {MEANINGS.get(code, '-')} | {meaning} | {advice} |"


def _planted_bugs() -> Iterable[str]:
    yield f"There are {len(ALL)}. Each is put in alone, and the simulation runs until it is caught, from {OFFSETS} different first seeds:"
    yield "`python -m tests.simulation --planted-table` measures that. The tests try a seed in which it showed before, and then up to 40,000 others."
    yield ""
    yield from table()


def _bytes_an_id() -> Iterable[str]:
    kept = orjson.loads(_IDS.read_bytes())
    find, entry = round(kept["resident_bytes_per_id"]), ENTRY.itemsize
    step = CHUNK_ENTRIES * entry // 2**20
    yield f"The index of ids is exact and bounded by the horizon. An id has an entry of {entry} bytes and takes about {find} bytes of memory to find."
    yield f"With a `state_dir` the entries are files: about {find} bytes of memory and {entry} bytes of disk an id."
    yield f"(Files grow by {step} MiB at a time.)"
    yield f"Without one both are in memory: about {find + entry} bytes an id. Measured with {kept['ids']:,} ids."


PARTS: Final[Mapping[str, Callable[[], Iterable[str]]]] = {
    "bytes an id": _bytes_an_id,
    "exit codes": _exit_codes,
    "planted bugs": _planted_bugs,
}
PAGES: Final = ("docs/guarantees.md", "docs/operations.md")


def with_parts(page: str) -> str:
    """The page with each of its parts as the code says it. Raises KeyError for a part that nothing makes."""
    return _PART.sub(lambda found: "".join((found[1], found[2], *(f"{line}\n" for line in PARTS[found[1]]()))), page)


def parts_of(page: str) -> tuple[str, ...]:
    """The names of the parts that a page has, in order."""
    return tuple(found[1] for found in _PART.finditer(page))
