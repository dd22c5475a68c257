"""Run the console: `taximeter console`, or `python -m console [--config taximeter.toml] [--check-config]`."""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from console.app import Console
from console.settings import ConsoleSettings
from metering.configuration.settings import SettingsError, load_all
from metering.kafka.clients import KafkaSettings
from metering.process.service import ServiceContext
from metering.process.service_command import Configuration, service_command
from metering.stripe.followed_key import with_followed_key
from metering.stripe.settings import StripeSettings, stripe_is_configured


async def show(context: ServiceContext, configuration: Configuration) -> None:
    """The service's main."""
    stripe = stripe_settings(configuration.file)
    if stripe is not None:
        stripe = with_followed_key(stripe, context)
    await Console(context, configuration.of(KafkaSettings), configuration.of(ConsoleSettings), stripe).run()


def stripe_settings(file: Mapping[str, Any]) -> StripeSettings | None:
    """For the prices; None where there is no key, and then pages show units only. Raises SettingsError."""
    if not stripe_is_configured(file, os.environ):
        return None
    found: StripeSettings = load_all({"stripe": StripeSettings}, environ=os.environ, file=file)["stripe"]
    return found


def file_problems(file: Mapping[str, Any]) -> Iterable[str]:
    """What is wrong with the key for the prices, if there is one. Meters are not looked at: the tallies have them."""
    try:
        stripe_settings(file)
    except SettingsError as error:
        return error.problems
    return ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    return service_command(
        show,
        name="console",
        summary="Show what each customer used, what became of it and what waits.",
        sections={"console": ConsoleSettings, "kafka": KafkaSettings},
        check_file=file_problems,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
