"""`--config`, as the services have it."""

import argparse
from pathlib import Path

from metering.configuration.setting_values import FILE_VARIABLE


def add_config_option(parser: argparse.ArgumentParser) -> None:
    """Which settings file."""
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings file (default: ${FILE_VARIABLE}, then ./taximeter.toml)")
