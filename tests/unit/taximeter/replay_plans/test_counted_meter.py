"""By whose definition a plan counts a meter: that which is published, and not what a settings file says."""

import pytest

from metering.folds.catalogue_timeline import CatalogueVersion
from metering.records.meters import Catalogue, Meter
from taximeter.replay_commands.plan import NothingPlanned, catalogue_with

OLD = Catalogue([Meter("tokens", ("input",))])
NEW = Catalogue([Meter("tokens", ("input", "output"))])
DROPPED = Catalogue([Meter("images", ("images",))])
FILE = Catalogue([Meter("tokens", ("input", "output", "cached")), Meter("drafts", ("drafts",))])


def published(*catalogues: Catalogue) -> list[CatalogueVersion]:
    return [CatalogueVersion(number, number, 0, number, each) for number, each in enumerate(catalogues, 1)]


def test_the_newest_version_that_has_the_meter_counts_and_a_file_that_differs_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue_with("tokens", published(OLD, NEW, DROPPED), FILE) is NEW
    assert "tokens is counted as version 2 defines it; the settings file defines it otherwise" in capsys.readouterr().err


def test_a_meter_that_the_file_has_no_more_is_counted_as_it_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue_with("images", published(DROPPED, NEW), FILE) is DROPPED
    assert capsys.readouterr().err == ""


def test_a_meter_that_is_not_published_is_refused_before_anything_is_read() -> None:
    with pytest.raises(NothingPlanned, match="no published version has the meter 'drafts': publish it with taximeter meters apply"):
        catalogue_with("drafts", published(NEW), FILE)
    with pytest.raises(NothingPlanned, match="no published version has the meter 'typo': there are tokens"):
        catalogue_with("typo", published(OLD, NEW), FILE)


def test_where_nothing_is_published_the_file_counts() -> None:
    assert catalogue_with("drafts", [], FILE) is FILE
    with pytest.raises(NothingPlanned, match="the settings file has no meter 'typo'; it has tokens, drafts"):
        catalogue_with("typo", [], FILE)
