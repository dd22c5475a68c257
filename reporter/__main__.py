"""Run the reporter: `python -m reporter [--config taximeter.toml] [--check-config]`."""

import sys
from collections.abc import Sequence

from metering.catalogue import catalogue_of, catalogue_problems
from metering.kafka import KafkaSettings
from metering.service import ServiceContext
from metering.service_command import Configuration, service_command
from metering.stripe_settings import StripeSettings
from reporter.app import Reporter
from reporter.settings import ReporterSettings
from reporter.stripe_api import StripeMeterEvents
from reporter.stripe_events import StripeEvents
from reporter.webhook_settings import WebhookSettings


async def report(context: ServiceContext, configuration: Configuration) -> None:
    """The service's main."""
    stripe = configuration.of(StripeSettings)
    port = StripeMeterEvents(api_key=stripe.api_key, api_base=stripe.api_base, connections=stripe.connections, timeout_s=stripe.timeout_seconds)
    reporter = Reporter(
        context,
        kafka=configuration.of(KafkaSettings),
        stripe=stripe,
        settings=configuration.of(ReporterSettings),
        catalogue=catalogue_of(configuration.file),
        port=port,
        webhooks=configuration.of(WebhookSettings),
        events=StripeEvents(api_key=stripe.api_key, api_base=stripe.api_base, timeout_s=stripe.timeout_seconds),
    )
    await reporter.run()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    return service_command(
        report,
        name="reporter",
        summary="Tell Stripe, once, what was counted.",
        sections={"reporter": ReporterSettings, "stripe": StripeSettings, "webhooks": WebhookSettings, "kafka": KafkaSettings},
        check_file=catalogue_problems,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
