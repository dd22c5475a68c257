"""`taximeter topics`: create or check the topics.

Checked are the settings that the guarantees rest on.
"""

import argparse
import asyncio
import sys
from collections.abc import Coroutine

from taximeter_emitter.clock import SystemClock

from metering.kafka.clients import KafkaSettings
from metering.kafka.provision import TopicState, ensure_topics, missing_topics
from taximeter.connection import kafka_settings
from taximeter.exit_codes import OK, PRECONDITION


def create(arguments: argparse.Namespace) -> int:
    """Create the topics that are missing and check the rest.

    Exit code 4 when a topic is not as it must be; each problem with the way out on stderr.
    """
    return _run(_create(kafka_settings(arguments)))


def check(arguments: argparse.Namespace) -> int:
    """Check the topics, and create none.

    Exit code 4 when a topic is missing or not as it must be; each problem with the way out on stderr.
    """
    return _run(_check(kafka_settings(arguments)))


def _run(work: Coroutine[None, None, list[str]]) -> int:
    problems = asyncio.run(work)
    for problem in problems:
        print(f"taximeter: {problem}", file=sys.stderr)
    if not problems:
        print("as they must be")
    return PRECONDITION if problems else OK


async def _create(kafka: KafkaSettings) -> list[str]:
    return await ensure_topics(kafka, kafka.topics, clock=SystemClock(), show=_show)


def _show(state: TopicState) -> None:
    print(state)


async def _check(kafka: KafkaSettings) -> list[str]:
    return await missing_topics(kafka) or await ensure_topics(kafka, kafka.topics, clock=SystemClock(), show=_show)
