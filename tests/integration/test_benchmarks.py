"""The benchmarks run, and what they measure is the whole load."""

import json
from pathlib import Path

import pytest

from benchmarks.__main__ import main

pytestmark = [pytest.mark.broker, pytest.mark.end_to_end]


def test_a_quick_run_writes_a_result_for_each_variant(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert main(["--only", "aggregator-numbered-500", "--runs", "1", "--scale", "0.002", "--kafka", "embedded", "--json", str(file)]) == 0
    results = json.loads(file.read_text())["results"]
    assert [(result["variant"], result["events"]) for result in results] == [("bare aiokafka", 4_000), ("aggregator", 4_000)]


def test_an_unknown_path_is_refused_before_a_broker_starts() -> None:
    assert main(["--only", "nothing"]) == 3
