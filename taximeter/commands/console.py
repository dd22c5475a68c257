"""`taximeter console`: show in a browser, and as JSON, what each customer used and what became of it."""

import argparse
import os
import sys

from console.__main__ import main
from console.settings import ConsoleSettings
from console.store.usage_store import remove_store
from metering.configuration.settings import SettingsError
from metering.process.service_command import load_configuration
from taximeter.exit_codes import FAILED, USAGE


def run(arguments: argparse.Namespace) -> int:
    """Run the console until a signal."""
    if arguments.rebuild:
        try:
            settings = load_configuration({"console": ConsoleSettings}, environ=os.environ, file=arguments.config).of(ConsoleSettings)
            remove_store(settings.store_path)
        except SettingsError as error:
            print("\n".join(f"taximeter: {problem}" for problem in error.problems), file=sys.stderr)
            return USAGE
        except OSError as error:
            print(f"taximeter: the store cannot be deleted: {error}", file=sys.stderr)
            return FAILED
    return main([] if arguments.config is None else ["--config", str(arguments.config)])
