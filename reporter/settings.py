"""Options of the reporter."""

from dataclasses import dataclass

from metering.configuration.settings import option


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterSettings:
    """Section `reporter`."""

    group_id: str = option(
        doc="Consumer group that shares the partitions among reporters; empty: taximeter-reporter- and the topic prefix.",
        default="",
    )
    instance_id: str | None = option(
        doc="Name of this instance, unique in the group; with one, a restart within the session timeout moves no partitions.", default=None
    )
    report_seconds: float = option(
        doc="How often counted usage is reported. Usage of one customer and window in that time is one meter event.",
        default=60.0,
        unit="seconds",
        minimum=0.1,
        maximum=3600,
    )
    receipt_seconds: float = option(
        doc="How long an outcome may wait to be written to the ledger.", default=0.5, unit="seconds", minimum=0.01, maximum=60
    )
    drain_target_seconds: float = option(
        doc="Windows are merged, up to an hour, if sending the backlog would take longer than this.",
        default=60.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    hourly_drain_seconds: float = option(
        doc="Windows are merged to six hours of UTC (0 to 6, 6 to 12 and so on) if sending hourly ones would take longer than this.",
        default=600.0,
        unit="seconds",
        minimum=1,
        maximum=604_800,
    )
    periods_seconds: float = option(
        doc="How often subscriptions are read, so that no meter event mixes two billing periods; 0 means never.",
        default=3600.0,
        unit="seconds",
        minimum=0,
        maximum=86_400,
    )
    meters_seconds: float = option(
        doc="How often Stripe's meters are read, so that usage of one that is inactive, unknown or reads other payload keys is held before it is "
        "sent; 0 means only at start and while a meter is held.",
        default=300.0,
        unit="seconds",
        minimum=0,
        maximum=86_400,
    )
    reconcile_share: float = option(
        doc="Which part of stripe.reads_per_month is used to compare the ledger with Stripe's sums all the time; 0 means never.",
        default=0.5,
        minimum=0,
        maximum=1,
    )
    reconcile_seconds: float = option(
        doc="How often a customer of whom nothing is in doubt is compared with Stripe's sums, as far as the reads allow.",
        default=86_400.0,
        unit="seconds",
        minimum=1,
        maximum=2_592_000,
    )
    reconcile_settle_seconds: float = option(
        doc="How long Stripe's sums may lag at least, before something that they lack is missing; three times the measured lag if that is longer. "
        "A difference counts when two reads show it, half of this time apart.",
        default=600.0,
        unit="seconds",
        minimum=0.1,
        maximum=86_400,
    )
    rows_max: int = option(doc="Sums that a partition may hold before its reading pauses.", default=50_000, minimum=100, maximum=200_000)
    sends_max: int = option(doc="Meter events that may wait to be sent, over all partitions.", default=300_000, minimum=1_000, maximum=5_000_000)
    probe_seconds: float = option(
        doc="How often one call tests a key that Stripe has refused. A held meter is first looked at after this time, then more rarely.",
        default=30.0,
        unit="seconds",
        minimum=1,
        maximum=3600,
    )
    stall_seconds: float = option(
        doc="Not ready when usage waits and Stripe took nothing for this long.", default=900.0, unit="seconds", minimum=1, maximum=86_400
    )
