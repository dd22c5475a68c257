"""The options by which commands select set-aside events: one syntax for all of them."""

import argparse

from aggregator.dead_letters.letter_selector import LetterSelector


def selector_of(arguments: argparse.Namespace) -> LetterSelector:
    """What the options say."""
    return LetterSelector(
        reasons=frozenset(arguments.why),
        fields=frozenset(arguments.field),
        sources=frozenset(arguments.source),
        customers=frozenset(arguments.customer),
        partitions=frozenset(arguments.partition),
        offsets=frozenset(arguments.offset),
        from_ms=arguments.from_ms,
        to_ms=arguments.to_ms,
    )
