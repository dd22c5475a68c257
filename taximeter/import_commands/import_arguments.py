"""What `taximeter replay` takes for a file or another topic. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path
from typing import Final

FILE_FORMATS: Final = ("ndjson", "csv", "parquet")
_SELECTION: Final = ("customer", "source", "meter", "partition", "offset")
_SELECTED_TIMES: Final = {"from": "from_ms", "to": "to_ms", "event-from": "event_from_ms", "event-to": "event_to_ms"}
_FILE_OPTIONS: Final = {"--column": "column", "--format": "format", "--source-name": "source_name"}


def add_import_plan(parser: argparse.ArgumentParser, what: "argparse._MutuallyExclusiveGroup") -> None:
    """The options of `taximeter replay plan`; `what` is the group of things of which one is planned."""
    what.add_argument("--file", dest="files", type=Path, nargs="+", default=[], metavar="FILE", help="bring in the events of files, each line once")
    what.add_argument("--from-topic", metavar="TOPIC", help="bring in events that were written to another topic of the same cluster, each once")
    parser.add_argument("--format", choices=FILE_FORMATS, help="what the files are, where their names do not say it; gzip is seen by itself")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="COLUMN=FIELD",
        help="a column of the files is this field of an event (tokens=usage.tokens); may be repeated, and then only these columns are read",
    )
    parser.add_argument("--source-name", default="", metavar="NAME", help="the source of events in the files that name none")


def add_import_apply(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter replay apply`."""
    parser.add_argument(
        "--leave-out-invalid", action="store_true", help="of a file or another topic: bring in what is sound, and leave out what is no event"
    )


def selection_problems(arguments: argparse.Namespace) -> list[str]:
    """Options of one kind of plan that were given with the other."""
    if is_import(arguments):
        given = [f"--{option}" for option in _SELECTION if getattr(arguments, option)]
        given += [f"--{name}" for name, field in _SELECTED_TIMES.items() if getattr(arguments, field) is not None]
        return [f"{', '.join(given)}: these select what was counted; a file or a topic is brought in whole"] if given else []
    given = [option for option, field in _FILE_OPTIONS.items() if getattr(arguments, field)]
    return [f"{', '.join(given)}: these are for --file"] if given else []


def is_import(arguments: argparse.Namespace) -> bool:
    """Whether `taximeter replay plan` was asked to bring something in."""
    return bool(arguments.files) or arguments.from_topic is not None
