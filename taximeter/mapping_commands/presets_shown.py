"""The presets, as they are in the gateway's package."""

import argparse
import sys

from ingest.mappings.presets import preset_text, presets
from taximeter.exit_codes import OK, USAGE
from taximeter.stripe_commands.running import print_json


def list_presets(arguments: argparse.Namespace) -> int:
    """Show the presets, and which client each was checked with."""
    found = [
        {"preset": name, "about": each.about, "checked": each.checked, "paths": {part: table["path"] for part, table in each.parts.items()}}
        for name, each in presets().items()
    ]
    if arguments.json:
        print_json({"schema": "taximeter.presets/1", "presets": found})
        return OK
    for name, each in presets().items():
        print(f"{name}: {each.about}")
        print(f"    checked with {each.checked}")
        for part, table in each.parts.items():
            print(f"    {name}.{part}: POST {table['path']}")
    return OK


def show(arguments: argparse.Namespace) -> int:
    """Print one preset as TOML, to be read or copied."""
    text = preset_text(arguments.preset)
    if text is None:
        print(f"taximeter: there is no preset {arguments.preset!r}; known are {', '.join(presets())}", file=sys.stderr)
        return USAGE
    print(text, end="")
    return OK
