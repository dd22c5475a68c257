"""The customers of a run as its model servers know them: organisations, which are billed to customers of Stripe."""

import asyncio
import csv
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from metering.kafka.clients import KafkaSettings
from taximeter_sandbox.demo.load.workload import customer_ids
from taximeter_sandbox.demo.processes import ProcessFailed, own_environment

SHARING_EVERY: Final = 10  # an organisation in this many is billed to the Stripe customer of the one before it
LATE_EVERY: Final = 7  # an organisation in this many is linked under load


def organisations(stripe_customers: Sequence[str]) -> dict[str, str]:
    """As many organisations, each with the Stripe customer that is billed for it."""
    names = customer_ids(len(stripe_customers), "org_demo")
    return {name: stripe_customers[number - 1 if number % SHARING_EVERY == SHARING_EVERY - 1 else number] for number, name in enumerate(names)}


def linked_late(names: Sequence[str]) -> list[str]:
    """Those that nobody links before the load has begun."""
    return list(names[LATE_EVERY - 1 :: LATE_EVERY])


async def link(links: Mapping[str, str], file: Path, kafka: KafkaSettings) -> None:
    """Link them as an operator does: `taximeter customers import`. Raises ProcessFailed."""
    with file.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["customer", "stripe_customer"])
        rows.writerows(links.items())
    environment = {
        **own_environment(),
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(kafka.bootstrap_servers),
        "TAXIMETER_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "TAXIMETER_KAFKA_PARTITIONS": str(kafka.partitions),
    }
    command = ("-m", "taximeter", "customers", "import", str(file), "--yes", "--reason", "customers of the demo", "--by", "demo")
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    if process.returncode:
        raise ProcessFailed(f"the organisations could not be linked: {said.decode(errors='replace').strip()}")
