"""What is to be at Stripe: the meters that are published, and the products and prices of the settings file."""

import argparse
import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from aiokafka.errors import KafkaError
from taximeter_emitter.clock import SystemClock

from billing.catalogue.pricing import Wanted, parse_wanted
from metering.configuration.settings import describe
from metering.folds.catalogue_timeline import CatalogueTimeline, CatalogueVersion
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.provision import partition_counts
from metering.records.fail_closed import FailClosed
from metering.records.meters import Meter
from taximeter.catalogue_in_force import published_versions
from taximeter.connection import configuration_of
from taximeter.exit_codes import DISCREPANCY, PRECONDITION, USAGE
from taximeter.stripe_commands.stripe_connection import CannotDo

KAFKA_STARTS_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class WantedAtStripe:
    """`wanted` must be there. `versions`: the numbers of those that its meters are from, empty where the settings file's count. `ahead`: with the
    meters of the file, too, that nobody has published yet. `notes`: where the file says something else.
    """

    wanted: Wanted
    ahead: Wanted
    versions: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def whose_meters(self) -> str:
        """Where the meters are from, in words."""
        if not self.versions:
            return "meters of the settings file"
        return f"meters of the published version{'s' if len(self.versions) > 1 else ''} {' and '.join(map(str, self.versions))}"


def wanted_at_stripe(arguments: argparse.Namespace) -> WantedAtStripe:
    """Read what the services know: `arguments` has --config. Where no Kafka is configured, the settings file counts.

    Blocks on Kafka. Raises CannotDo for a settings file with problems, and if Kafka does not answer.
    """
    configuration = configuration_of(arguments, {})
    wanted, problems = parse_wanted(configuration.file)
    if wanted is None:
        raise CannotDo("\ntaximeter: ".join(problems), USAGE)
    if not kafka_is_configured(configuration.file, os.environ):
        return WantedAtStripe(wanted, wanted)
    kafka = configuration_of(arguments, {"kafka": KafkaSettings}).of(KafkaSettings)
    try:
        versions = asyncio.run(_versions(kafka))
    except (LogUnavailable, KafkaError) as error:
        way_out = "without [kafka] bootstrap_servers the meters are those of the settings file"
        raise CannotDo(f"which meters are published is not known: {error}; {way_out}", PRECONDITION) from None
    except FailClosed as error:
        raise CannotDo(f"the log cannot be trusted: {error}", DISCREPANCY) from None
    return published_wanted(wanted, versions, SystemClock().now_ms())


async def _versions(kafka: KafkaSettings) -> tuple[CatalogueVersion, ...]:
    """All versions; none where there is no topic yet. A Kafka that is starting is waited for. Raises LogUnavailable, FailClosed or KafkaError."""
    clock = SystemClock()
    give_up_at = clock.monotonic() + KAFKA_STARTS_SECONDS
    while True:
        try:
            topics = await partition_counts(kafka, (kafka.topics.catalogue,))
        except KafkaError:
            if clock.monotonic() > give_up_at:
                raise
            await clock.sleep(0.5)
        else:
            return await published_versions(kafka) if topics else ()


def published_wanted(file: Wanted, versions: Sequence[CatalogueVersion], now_ms: int) -> WantedAtStripe:
    """The meters of the versions that hold at `now_ms` (Unix ms) or are to come, each as the newest of them defines it. Pure.

    Where nothing is published: those of the settings file. A meter that only the file has may be made before it is published: then its usage never
    waits.
    """
    serving = CatalogueTimeline(tuple(versions)).serving(now_ms)
    if not serving:
        return WantedAtStripe(file, file)
    meters: dict[str, Meter] = {meter.event_name: meter for version in serving for meter in version.catalogue.meters}
    new = [meter for meter in file.meters if meter.event_name not in meters]
    other = [meter.event_name for meter in file.meters if meter.event_name in meters and meters[meter.event_name].definition != meter.definition]
    # What Stripe's dashboard calls a meter is in the file alone.
    names = {meter.event_name: meter.display_name for meter in file.meters}
    named = tuple(replace(meter, display_name=names.get(name, name)) for name, meter in meters.items())
    notes = []
    if new:
        notes.append(f"of the settings file, and not published yet (taximeter meters apply): {', '.join(meter.event_name for meter in new)}")
    if other:
        notes.append(f"the settings file defines these otherwise, and what is published counts (taximeter meters plan): {', '.join(other)}")
    wanted = replace(file, meters=named, prices=tuple(price for price in file.prices if price.meter in meters))
    ahead = replace(file, meters=(*named, *new))
    return WantedAtStripe(wanted, ahead, tuple(version.number for version in serving), tuple(notes))


def kafka_is_configured(file: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether somebody has said where Kafka is."""
    servers = next(row for row in describe(KafkaSettings, "kafka") if row.key == "bootstrap_servers")
    table = file.get("kafka")
    return any(environ.get(name or "") for name in (servers.variable, servers.alias)) or (isinstance(table, Mapping) and servers.key in table)
