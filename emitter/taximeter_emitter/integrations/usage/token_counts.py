"""The tokens of one call, and the fields of an event that they become: a partition, in which each token is in exactly one field."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from taximeter_emitter.wire.limits import QUANTITY_MAX

Split = Literal["cached", "cache_write", "cache_write_1h", "reasoning", "audio", "image"]

# By part: what it is a part of, and its field.
PARTS: Final[Mapping[str, tuple[str, str]]] = {
    "cached": ("input", "cached_input_tokens"),
    "cache_write": ("input", "cache_write_tokens"),
    "cache_write_1h": ("cache_write", "cache_write_1h_tokens"),
    "reasoning": ("output", "reasoning_tokens"),
    "audio_input": ("input", "audio_input_tokens"),
    "audio_output": ("output", "audio_output_tokens"),
    "image_input": ("input", "image_input_tokens"),
    "image_output": ("output", "image_output_tokens"),
}
_OF_SPLIT: Final[Mapping[Split, tuple[str, ...]]] = {
    "cached": ("cached",),
    "cache_write": ("cache_write",),
    "cache_write_1h": ("cache_write_1h",),
    "reasoning": ("reasoning",),
    "audio": ("audio_input", "audio_output"),
    "image": ("image_input", "image_output"),
}
# Parts that share no token: together they are at most the whole.
_DISJOINT: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("input", ("cached", "cache_write")),
    ("input", ("audio_input", "image_input")),
    ("output", ("reasoning", "audio_output", "image_output")),
    ("cache_write", ("cache_write_1h",)),
)
_OVERLAPPING: Final = (frozenset({"cached", "cache_write", "cache_write_1h"}), frozenset({"audio", "image"}))


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCounts:
    """Tokens of one call, None where nothing was said. `input` and `output` include their parts, whatever the provider's own way.

    `total`: the provider's own sum of both. `others`: quantities that are no tokens, under their field names.
    `problems`: names of numbers that are no counts; they are absent here.
    """

    input: int | None = None
    output: int | None = None
    total: int | None = None
    parts: Mapping[str, int] = field(default_factory=dict)
    others: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()

    @property
    def are_known(self) -> bool:
        """Whether anything can be billed by them."""
        return self.input is not None or self.output is not None or bool(self.others)

    @property
    def are_consistent(self) -> bool:
        """Whether all numbers are counts, the parts fit into their wholes, and both sides make the provider's total."""
        wholes: dict[str, int] = {"input": self.input or 0, "output": self.output or 0, **self.parts}
        fit = all(sum(self.parts.get(part, 0) for part in parts) <= wholes.get(whole, 0) for whole, parts in _DISJOINT)
        return fit and not self.problems and self.total in {None, wholes["input"] + wholes["output"]}


def check_split(split: Iterable[str]) -> tuple[Split, ...]:
    """These names as a split. Raises ValueError for one that is unknown, and for two whose tokens overlap."""
    given = tuple(split)
    known = get_args(Split)
    unknown = [name for name in given if name not in known]
    if isinstance(split, str) or unknown:
        raise ValueError(f"split: {', '.join(unknown) or split!r} is unknown; it is a tuple of {', '.join(known)}")
    first, second = ([name for name in given if name in group] for group in _OVERLAPPING)
    if first and second:
        raise ValueError(
            f"split: {first[0]} and {second[0]} overlap, because a cached token of audio is in both and no provider says how many there are;"
            " name one of them"
        )
    return tuple(name for name in known if name in given)


def fields_of_split(split: Collection[Split]) -> frozenset[str]:
    """The fields beside input_tokens and output_tokens that this split can emit."""
    return frozenset(PARTS[part][1] for name in split for part in _OF_SPLIT[name])


def split_usage(counts: TokenCounts, split: Collection[Split]) -> dict[str, int]:
    """The fields of an event: each part that `split` names in a field of its own, and all else in input_tokens and output_tokens.

    Their token fields add up to input and output. Of inconsistent counts nothing is split off, so that nothing is billed twice or lost.
    """
    own: dict[str, int] = {}
    if counts.input is not None:
        own["input"] = counts.input
    if counts.output is not None:
        own["output"] = counts.output
    names = {"input": "input_tokens", "output": "output_tokens"}
    if counts.are_consistent:
        for part in (part for name in get_args(Split) if name in split for part in _OF_SPLIT[name]):
            if part in counts.parts:
                parent, names[part] = PARTS[part]
                while parent not in own and parent in PARTS:
                    parent = PARTS[parent][0]
                if parent in own:
                    own[parent] -= counts.parts[part]
                    own[part] = counts.parts[part]
    return {names[name]: quantity for name, quantity in own.items()} | dict(counts.others)


def is_count(value: object) -> bool:
    """Whether this is a number of tokens; a bool is none."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= QUANTITY_MAX
