"""The first page: the stages, and what waits at each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from console.following.pipeline_view import PartitionEnds
from console.pages.elements import Child, Column, Html, element, joined, table
from console.pages.page_frame import PageAbout, figure, moment, page
from console.store.fold_places import LEDGER, LETTERS, TALLIES, FoldPlace

_COLUMNS = [
    Column("Partition"),
    Column("To count, records", number=True),
    Column("To report, tallies", number=True),
    Column("Without an outcome", number=True),
    Column("Unknown", number=True),
    Column("This page behind", number=True),
    Column("Last tally"),
    Column("Trouble", wraps=True),
]


@dataclass(frozen=True, slots=True)
class PipelineSeen:
    """What the page shows. `outcomes` are of today's events."""

    ends: Sequence[PartitionEnds]
    places: Mapping[tuple[str, int], FoldPlace]
    outcomes: Sequence[tuple[str, int]]
    held_units: int
    kept_from: str


def pipeline_page(about: PageAbout, seen: PipelineSeen) -> Html:
    """The page."""
    partitions = [_partition(number, each, seen.places) for number, each in enumerate(seen.ends)]
    to_count, to_report, waiting, unknown, behind = (sum(each[place] for each in partitions) for place in range(5))
    troubles = [f"Partition {number}, {topic}: {text}" for number, each in enumerate(seen.ends) for topic, text in sorted(each.troubles.items())]
    stages = element(
        "dl",
        figure("Records to count", to_count),
        figure("Tallies to report", to_report),
        figure("Meter events on their way", waiting),
        figure("Of them unknown", unknown, bad=unknown > 0),
        figure("Units held", seen.held_units, bad=seen.held_units > 0),
        figure("Records to fold here", behind),
    )
    outcomes = table(
        "Events of today by what became of them",
        [Column("Outcome"), Column("Events", number=True)],
        seen.outcomes,
        empty="No events today.",
    )
    rows = [_shown(number, numbers, each, seen.places) for number, (numbers, each) in enumerate(zip(partitions, seen.ends, strict=True))]
    return page(
        about,
        *(element("p", text, class_="notice") for text in troubles),
        element("h2", "What waits"),
        stages,
        element("h2", "Events"),
        outcomes,
        element("h2", "Partitions"),
        table("Each partition by stage", _COLUMNS, rows, empty="No partitions."),
        element("p", f"Usage is kept here from {seen.kept_from} on.", class_="quiet"),
    )


def _partition(number: int, ends: PartitionEnds, places: Mapping[tuple[str, int], FoldPlace]) -> tuple[int, int, int, int, int]:
    tallies, ledger = places.get((TALLIES, number)), places.get((LEDGER, number))
    counted_to = max(0, tallies.chain_end) if tallies is not None else 0
    reported_to = max(0, ledger.chain_end) if ledger is not None else 0
    to_count = max(0, ends.events - counted_to)
    to_report = max(0, ends.ends[TALLIES] - reported_to)
    behind = sum(
        max(0, end - (places[topic, number].next_offset if (topic, number) in places else 0)) for topic, end in ends.ends.items() if topic != LETTERS
    )
    return to_count, to_report, ledger.open if ledger is not None else 0, ledger.unknown if ledger is not None else 0, behind


def _shown(number: int, numbers: tuple[int, ...], ends: PartitionEnds, places: Mapping[tuple[str, int], FoldPlace]) -> list[Child]:
    tallies = places.get((TALLIES, number))
    last = moment(tallies.log_time_ms) if tallies is not None and tallies.log_time_ms else None
    trouble = element("span", "; ".join(sorted(ends.troubles.values())), class_="bad") if ends.troubles else joined(())
    return [str(number), *numbers, last, trouble]
