"""`taximeter mappings`: presets are shown as they are, and a body is judged as the gateway would."""

import json
import tomllib
from base64 import b64decode
from pathlib import Path
from typing import Any

import orjson
import pytest

from ingest.mappings.presets import presets
from taximeter.cli import main
from taximeter.exit_codes import DISCREPANCY, OK, USAGE
from tests.support.foreign_bodies import recorded

METERS = '[[meters]]\nevent_name = "input"\nsum = ["input_tokens"]\n'


@pytest.fixture(autouse=True)
def _no_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TAXIMETER_CONFIG", raising=False)


def tried(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["mappings", "try", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_preset_can_be_shown_and_read(capsys: pytest.CaptureFixture[str]) -> None:
    for name, preset in presets().items():
        assert main(["mappings", "show", name]) == OK
        shown = tomllib.loads(capsys.readouterr().out)
        assert list(shown) == [name]
        assert shown[name]["parts"] == preset.parts
    assert main(["mappings", "show", "litelm"]) == USAGE
    assert "known are litellm, openmeter" in capsys.readouterr().err


def test_the_list_has_every_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mappings", "list"]) == OK
    shown = capsys.readouterr().out
    assert all(f"{name}.{part}: POST {table['path']}" in shown for name, preset in presets().items() for part, table in preset.parts.items())


def test_a_body_is_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payloads = recorded("litellm_logger")
    (tmp_path / "body.json").write_bytes(orjson.dumps([*payloads, payloads[0] | {"metadata": {}}]))
    code, found = tried(capsys, "body.json", "--preset", "litellm")
    assert (code, found["path"], found["left_out"]) == (DISCREPANCY, "/v1/from/litellm", 2)
    assert [record["status"] for record in found["records"]] == ["event", "event", "set_aside"]
    assert found["records"][0]["event"]["usage"] == {"input_tokens": 10, "output_tokens": 20}


def test_a_body_is_judged_by_the_meters_of_the_settings_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    payload = recorded("litellm_logger")[0]
    (tmp_path / "taximeter.toml").write_text(f'{METERS}\n[[mappings]]\npreset = "litellm.logger"\ntime = {{ path = "now", unit = "s" }}\n')
    (tmp_path / "body.json").write_bytes(orjson.dumps(payload))
    code, found = tried(capsys, "body.json")
    assert (code, found["unknown_usage"]) == (OK, {"output_tokens": 20})
    (tmp_path / "body.json").write_bytes(orjson.dumps(payload | {"now": 5}))
    code, found = tried(capsys, "body.json")
    assert (code, found["records"][0]["reason"]) == (DISCREPANCY, "past_horizon")


def test_spans_in_protobuf_are_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "body").write_bytes(b64decode(recorded("otlp_spans")))
    code, found = tried(capsys, "body", "--preset", "otlp")
    assert (code, len(found["records"]), found["left_out"]) == (OK, 1, 1)


def test_what_cannot_be_tried_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "body.json").write_text("{")
    assert main(["mappings", "try", "body.json"]) == USAGE
    assert "there is no mapping in the settings file; --preset names one" in capsys.readouterr().err
    assert main(["mappings", "try", "body.json", "--preset", "litellm"]) == USAGE
    assert "not valid JSON" in capsys.readouterr().err
    assert main(["mappings", "try", "nothing.json", "--preset", "litellm"]) == USAGE
