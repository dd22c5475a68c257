"""docs/bringing-events-in.md does what it says: its commands are run, in order, as somebody would who copies them."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import environment
from tests.support.repository import ROOT
from tests.support.usage_topic import make_topics, settings_for

BLOCK: Final = re.compile(r"```console\n(.*?)```", re.DOTALL)
METERS: Final = '[[meters]]\nevent_name = "tokens"\nsum = ["input_tokens", "output_tokens"]\n'


@pytest.mark.broker
async def test_every_command_of_the_page_works_in_the_order_of_the_page(broker: str, tmp_path: Path) -> None:
    page = (ROOT / "docs/bringing-events-in.md").read_text()
    commands = [re.sub(r"^\$ ", "", block, flags=re.MULTILINE) for block in BLOCK.findall(page)]
    (tmp_path / "page.sh").write_text("set -euo pipefail\n" + "".join(commands))
    (tmp_path / "taximeter.toml").write_text(METERS)
    kafka = settings_for(broker)
    await make_topics(kafka)
    variables = environment(kafka, {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"})
    with aggregator(kafka, tmp_path / "aggregator"):
        done = await asyncio.to_thread(
            subprocess.run, ["bash", "page.sh"], cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=180, check=False
        )
    assert done.returncode == 0, done.stderr + done.stdout
    assert "812 input_tokens" in done.stdout
    assert "line 3: usage.input_tokens: quantities are integers" in done.stdout
    assert "0 of 2 events had to be written" in done.stdout
