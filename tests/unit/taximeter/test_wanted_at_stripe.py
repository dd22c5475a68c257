"""What is made at Stripe goes by what is published, and by the settings file only where nothing is."""

from dataclasses import replace

import pytest

from billing.catalogue.pricing import Price, Wanted
from metering.folds.catalogue_timeline import CatalogueVersion
from metering.records.meters import Catalogue, Meter
from metering.records.notes.publication import FROM_THE_BEGINNING
from taximeter.wanted_at_stripe import kafka_is_configured, published_wanted

HOUR_MS = 3_600_000
NOW_MS = 1_780_000_000_000
OLD, TOKENS, TOKENS_TOO, IMAGES, NEW = (
    Meter(name, fields) for name, fields in (("old", ("a",)), ("tokens", ("a",)), ("tokens", ("a", "b")), ("images", ("i",)), ("new", ("n",)))
)
PRICES = tuple(Price(f"{meter.event_name}_monthly", "ai", meter.event_name, "usd", "month") for meter in (TOKENS, IMAGES, NEW))
FILE = Wanted((replace(TOKENS_TOO, display_name="Tokens"), NEW), prices=PRICES)


def version(number: int, from_ms: int, *meters: Meter) -> CatalogueVersion:
    return CatalogueVersion(number, number, 0, from_ms, Catalogue(meters))


def test_the_file_counts_where_nothing_is_published() -> None:
    found = published_wanted(FILE, (), NOW_MS)
    assert (found.wanted, found.ahead, found.versions, found.notes) == (FILE, FILE, (), ())
    assert found.whose_meters == "meters of the settings file"


def test_what_is_in_force_and_to_come_is_wanted_and_what_is_new_in_the_file_may_be_made_ahead() -> None:
    versions = (
        version(1, FROM_THE_BEGINNING, OLD, TOKENS),
        version(2, NOW_MS - HOUR_MS, TOKENS),
        version(3, NOW_MS + HOUR_MS, TOKENS, IMAGES),
    )
    found = published_wanted(FILE, versions, NOW_MS)
    assert found.wanted == replace(FILE, meters=(replace(TOKENS, display_name="Tokens"), replace(IMAGES, display_name="images")), prices=PRICES[:2])
    assert found.ahead == replace(FILE, meters=(*found.wanted.meters, NEW))
    assert (found.versions, found.whose_meters) == ((2, 3), "meters of the published versions 2 and 3")
    new, differs = found.notes
    assert (new.endswith("(taximeter meters apply): new"), differs.endswith("(taximeter meters plan): tokens")) == (True, True)
    assert published_wanted(FILE, versions, NOW_MS + 2 * HOUR_MS).versions == (3,)


def test_a_name_that_the_file_gives_is_no_other_definition() -> None:
    file = Wanted((replace(TOKENS, display_name="Tokens"),))
    found = published_wanted(file, (version(1, FROM_THE_BEGINNING, TOKENS),), NOW_MS)
    assert (found.wanted, found.notes) == (file, ())


@pytest.mark.parametrize(
    ("file", "environ", "configured"),
    [
        ({}, {}, False),
        ({"kafka": {"partitions": 4}}, {"KAFKA_BOOTSTRAP_SERVERS": ""}, False),
        ({}, {"KAFKA_BOOTSTRAP_SERVERS": "a:1"}, True),
        ({}, {"TAXIMETER_KAFKA_BOOTSTRAP_SERVERS": "a:1"}, True),
        ({"kafka": {"bootstrap_servers": ["a:1"]}}, {}, True),
    ],
)
def test_kafka_is_asked_where_it_is_configured(file: dict[str, object], environ: dict[str, str], configured: bool) -> None:
    assert kafka_is_configured(file, environ) is configured
