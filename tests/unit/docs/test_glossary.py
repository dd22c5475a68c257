"""docs/glossary.md has every word that the code gives to events, meter events and topics, once and in order."""

import re

from taximeter_emitter.wire.errors import Reason

from metering.kafka.topics import topics_named
from metering.records.ledger_records import Outcome
from tests.support.repository import ROOT

PAGE = (ROOT / "docs/glossary.md").read_text()
# The rows of each table of the page, by its heading; the two lines above the rows are its head.
TABLES = {
    part.splitlines()[0]: [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part.splitlines() if line.startswith("| ")][2:]
    for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
}


def words(table: str) -> list[str]:
    return [row[0].strip("`") for row in TABLES[table]]


def test_each_table_is_sorted_and_has_a_word_once() -> None:
    assert len(TABLES) == 4
    for table in TABLES:
        found = words(table)
        assert found == sorted(found, key=str.lower), table
        assert len(found) == len(set(found)), table


def test_every_word_has_one_line_that_says_what_it_is() -> None:
    for table, rows in TABLES.items():
        width = len(rows[0])
        for row in rows:
            assert len(row) == width, f"{table}: {row}"
            assert all(row), f"{table}: {row}"


def test_it_has_every_outcome_reason_and_topic_and_no_others() -> None:
    assert words("Outcomes of a meter event") == sorted(Outcome)
    assert words("Reasons for refusing an event") == sorted(Reason)
    assert words("Topics") == sorted(topic.name for topic in topics_named("usage"))
