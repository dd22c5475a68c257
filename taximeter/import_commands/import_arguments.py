"""What `taximeter replay` takes for a file or another topic. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path
from typing import Final

FILE_FORMATS: Final = ("ndjson", "csv", "parquet")


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


def is_import(arguments: argparse.Namespace) -> bool:
    """Whether `taximeter replay plan` was asked to bring something in."""
    return bool(arguments.files) or arguments.from_topic is not None
