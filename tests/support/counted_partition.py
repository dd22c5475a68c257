"""A partition of a broker with events and their tallies, written by the aggregator's core without its process."""

import io
import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from aggregator.core.counting import PartitionCounter
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.records.record import Record
from metering.records.tally import encode_tally
from taximeter.cli import main
from tests.support.aggregator_counters import counter
from tests.support.aggregator_records import Item, encode
from tests.support.gateway_process import environment

METERS_TOML: Final = '[[meters]]\nevent_name = "tokens"\nsum = ["input", "output"]\ndimensions = ["model"]\n'
METERS_TOML_SECONDS: Final = 120.0


@dataclass
class CountedPartition:
    """Partition 0. Everything is there when `count` returns."""

    kafka: KafkaSettings
    folder: Path
    subject: PartitionCounter = field(default_factory=counter)

    async def count(self, *items: Item) -> None:
        """Append these records and the tally that counts them."""
        appender = Appender(self.kafka, "counted")
        try:
            for item in items:
                value, headers = encode(item)
                landed = await appender.append(self.kafka.topics.events.name, 0, value, headers=headers)
                self.subject.count(Record(landed.offset, landed.log_time_ms, None, value, headers))
            found = self.subject.cut()
            tally = await appender.append(self.kafka.topics.tallies.name, 0, encode_tally(found.tally))
            assert self.subject.observe(tally.offset, found.tally)
        finally:
            await appender.close()

    def taximeter(self, *arguments: str) -> tuple[int, Any]:
        """The exit code of a command that runs in this process, and its JSON, or what it says on stderr."""
        (self.folder / "taximeter.toml").write_text(METERS_TOML)
        out, error = io.StringIO(), io.StringIO()
        line = [*arguments, "--json", "--config", str(self.folder / "taximeter.toml")]
        variables = patch.dict(os.environ, environment(self.kafka, {}), clear=True)
        with variables, redirect_stdout(out), redirect_stderr(error), ThreadPoolExecutor(1) as thread:
            code = thread.submit(main, line).result(METERS_TOML_SECONDS)
        return code, json.loads(out.getvalue()) if out.getvalue() else error.getvalue()
