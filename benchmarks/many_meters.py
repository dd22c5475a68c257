"""The aggregator on single events by a catalogue of 200 meters, 40 models by 5 kinds, beside one meter in the same run."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from benchmarks.aggregator import PARTITIONS, Load, made, measure_aggregator
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.usage_load import MODELS, Shape, make_topics, produce, single_records

ONE: Final = "one meter"
MANY: Final = "200 meters"
MODELS_SOLD: Final = 40
RATIO_MAX: Final = 1.3
_KINDS: Final = """
input = {sum = ["input_tokens"]}
output = {sum = ["output_tokens"]}
tokens = {sum = ["input_tokens", "output_tokens"]}
requests = {aggregate = "count"}
answered = {aggregate = "count", sum = ["output_tokens"]}
"""


def rate_card() -> str:
    """A settings file whose card has the models of the load, and others."""
    models = [*MODELS, *(f"other-{number}" for number in range(MODELS_SOLD - len(MODELS)))]
    return "\n".join(["[[rate_cards]]", "[rate_cards.kinds]", _KINDS, "[rate_cards.models]", *(f"{model} = true" for model in models)])


@asynccontextmanager
async def begin(shape: Shape, arena: Arena) -> AsyncIterator[Measures]:
    """The same events on topics of each variant's own."""
    events = arena.events(shape.events)
    records = await asyncio.to_thread(made, partial(single_records, partitions=PARTITIONS), Shape(events=events))
    loads = []
    for _ in range(2):
        kafka = arena.kafka(PARTITIONS)
        await make_topics(kafka)
        await asyncio.to_thread(produce, kafka, records)
        loads.append(Load(kafka, events))
    one, many = loads
    yield {ONE: partial(measure_aggregator, arena, one), MANY: partial(measure_aggregator, arena, many, meters=rate_card())}


PATHS: Final[Sequence[Path]] = (Path("aggregator-single-200-meters", partial(begin, Shape(events=1_000_000)), [Target(MANY, "ratio", RATIO_MAX)]),)
