"""Run the reporter: `python -m reporter [--config taximeter.toml] [--check-config]`."""

import sys
from collections.abc import Sequence

from taximeter_emitter.clock import Clock

from metering.kafka.clients import KafkaSettings
from metering.process.service import ServiceContext
from metering.process.service_command import Configuration, service_command
from metering.records.meters import catalogue_of, catalogue_problems
from metering.stripe.followed_key import with_followed_key
from metering.stripe.settings import StripeSettings
from metering.tracing.settings import TracingSettings
from metering.tracing.span_maker import SpanMaker, tracing_to
from reporter.app import Reporter, ReporterConfiguration, StripePorts
from reporter.linking.naming_customers import StripeNames
from reporter.sending.meter_events import MeterEventPort
from reporter.settings import ReporterSettings
from reporter.stripe.listed_meters import StripeMeters
from reporter.stripe.meter_events_v1 import StripeMeterEvents
from reporter.stripe.notifications import StripeEvents
from reporter.stripe.stream import StripeMeterEventStream
from reporter.stripe.subscriptions import StripeSubscriptions
from reporter.stripe.summaries import StripeHourSums
from reporter.webhooks.endpoint import ReportSource
from reporter.webhooks.error_reports import IdentifiersOf
from reporter.webhooks.settings import WebhookSettings


async def report(context: ServiceContext, configuration: Configuration) -> None:
    """The service's main."""
    async with tracing_to(configuration.of(TracingSettings), context) as span_maker:
        await _report(context, configuration, span_maker)


async def _report(context: ServiceContext, configuration: Configuration, span_maker: SpanMaker | None) -> None:
    stripe = with_followed_key(configuration.of(StripeSettings), context)
    webhooks = configuration.of(WebhookSettings)
    port, identifiers_of = _port(stripe, context.clock, span_maker)
    reporter = Reporter(
        context,
        ReporterConfiguration(
            kafka=configuration.of(KafkaSettings),
            stripe=stripe,
            settings=configuration.of(ReporterSettings),
            webhooks=webhooks,
            catalogue=catalogue_of(configuration.file),
        ),
        StripePorts(
            meter_events=port,
            meters=StripeMeters(api_key=stripe.api_key, api_base=stripe.api_base, timeout_s=stripe.timeout_seconds),
            reports=ReportSource(StripeEvents(api_key=stripe.api_key, api_base=stripe.api_base, timeout_s=stripe.timeout_seconds), identifiers_of),
            subscriptions=StripeSubscriptions(api_key=stripe.api_key, api_base=stripe.api_base, timeout_s=stripe.timeout_seconds),
            sums=StripeHourSums(api_key=stripe.api_key, api_base=stripe.api_base, timeout_s=stripe.timeout_seconds, clock=context.clock),
            names=None
            if webhooks.customers_field is None
            else StripeNames(webhooks.customers_field, api_key=stripe.api_key, api_base=stripe.api_base, timeout_s=stripe.timeout_seconds),
        ),
    )
    await reporter.run()


def _port(stripe: StripeSettings, clock: Clock, span_maker: SpanMaker | None) -> tuple[MeterEventPort, IdentifiersOf]:
    if not stripe.streams:
        port = StripeMeterEvents(
            api_key=stripe.api_key, api_base=stripe.api_base, connections=stripe.connections, timeout_s=stripe.timeout_seconds, span_maker=span_maker
        )
        return port, lambda _: ()
    stream = StripeMeterEventStream(
        api_key=stripe.api_key,
        api_base=stripe.api_base,
        stream_base=stripe.stream_base,
        connections=stripe.connections,
        timeout_s=stripe.timeout_seconds,
        clock=clock,
        requests_per_s=stripe.stream_calls_per_second,
        span_maker=span_maker,
    )
    return stream, stream.identifiers_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until told to stop; returns the exit code."""
    return service_command(
        report,
        name="reporter",
        summary="Report to Stripe, once, what was counted.",
        sections={
            "reporter": ReporterSettings,
            "stripe": StripeSettings,
            "webhooks": WebhookSettings,
            "kafka": KafkaSettings,
            "tracing": TracingSettings,
        },
        check_file=catalogue_problems,
        arguments=arguments,
    )


if __name__ == "__main__":
    sys.exit(main())
