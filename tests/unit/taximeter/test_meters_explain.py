"""`taximeter meters explain`: what one event feeds and costs, and what of it nobody bills."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from taximeter.cli import main
from taximeter.exit_codes import DISCREPANCY, OK, USAGE
from tests.support.rate_card import CARD


@pytest.fixture(name="explain")
def _explain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    (tmp_path / "taximeter.toml").write_text(CARD)
    monkeypatch.chdir(tmp_path)
    for name in ("STRIPE_API_KEY", "TAXIMETER_STRIPE_API_KEY", "TAXIMETER_CONFIG"):
        monkeypatch.delenv(name, raising=False)

    def run(usage: dict[str, int], model: str, *options: str) -> tuple[int, str]:
        event = {"id": "1", "customer": "cus_1", "usage": usage, "dimensions": {"model": model}}
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(json.dumps(event).encode())))
        code = main(["meters", "explain", "-", *options])
        return code, capsys.readouterr().out

    return run


def test_an_event_is_shown_with_its_meters_and_its_price(explain: Any) -> None:
    code, text = explain({"input_tokens": 100_000, "cached_input_tokens": 64_000}, "alpaca-70b-2026")
    assert code == OK
    assert "alpaca-70b_input: 36,000 (input_tokens less cached_input_tokens where model is alpaca-70b or alpaca-70b-*)" in text
    assert "0.0324 USD by the settings file's prices" in text


def test_what_nobody_bills_is_named_and_the_code_says_so(explain: Any) -> None:
    code, text = explain({"input_tokens": 5, "seconds": 3}, "alpaca-7b")
    assert code == DISCREPANCY
    assert "unknown: seconds, 3: no meter of the catalogue uses it" in text
    code, text = explain({"input_tokens": 5}, "alpaca-9b", "--json")
    found = json.loads(text)
    assert (code, found["counted"], found["refused"]["reason"], found["meters"]) == (DISCREPANCY, False, "unknown_usage_field", [])
    code, text = explain({"input_tokens": 5, "cached_input_tokens": 6}, "alpaca-7b", "--json")
    found = json.loads(text)
    assert (code, found["refused"]["reason"], found["money"]["amounts"]) == (DISCREPANCY, "below_zero", [])


def test_what_is_no_event_is_refused(explain: Any) -> None:
    assert explain({"input_tokens": -1}, "alpaca-7b")[0] == USAGE
