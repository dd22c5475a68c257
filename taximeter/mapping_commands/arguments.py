"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse

from taximeter.config_option import add_config_option


def list_presets(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter mappings list`."""
    parser.add_argument("--json", action="store_true", help="as JSON")


def show(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter mappings show`."""
    parser.add_argument("preset", metavar="PRESET", help="such as litellm; `taximeter mappings list` has all")


def mappings_try(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter mappings try`."""
    add_config_option(parser)
    parser.add_argument("body", metavar="FILE", help="what the sender posts: JSON, lines of it, or OTLP in protobuf; - reads it from stdin")
    parser.add_argument("--preset", metavar="PRESET", help="map by this preset (default: by [[mappings]] of the settings file)")
    parser.add_argument("--path", metavar="PATH", help="as if it was posted there (default: the first path at which it makes an event)")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.epilog = "Sends nothing. Exit code 2 when a record would be refused or set aside."
