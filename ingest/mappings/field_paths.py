"""Paths to values in foreign records, such as `metadata.usage."gen_ai.usage.input_tokens"`. Pure."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

Getter = Callable[[Any], Any]
"""The value at a path of a record, which is an object; None where there is none, or null."""

FieldPath = tuple[str, ...]

PATH_STEPS_MAX: Final = 8
_PATH_CHARS_MAX: Final = 200
_STEP: Final = re.compile(r'([A-Za-z0-9_@:/$-]+)|"([^"]+)"')


def read_path(text: object) -> FieldPath | None:
    """The steps of a path, as TOML writes dotted keys: a name with a dot in it is quoted. None if the text is not a path."""
    if not isinstance(text, str) or not 0 < len(text) <= _PATH_CHARS_MAX or not text.isprintable():
        return None
    steps: list[str] = []
    place = 0
    while True:
        step = _STEP.match(text, place)
        if step is None or len(steps) == PATH_STEPS_MAX:
            return None
        steps.append(step[1] or step[2])
        place = step.end()
        if place == len(text):
            return tuple(steps)
        if text[place] != ".":
            return None
        place += 1


def path_text(path: FieldPath) -> str:
    """The path as `read_path` takes it."""
    return ".".join(step if _STEP.fullmatch(step) and not step.startswith('"') else f'"{step}"' for step in path)


def getter_of(path: FieldPath) -> Getter:
    """Finds the value at a path."""
    *steps, last = path
    if not steps:
        return lambda record: record.get(last)

    if len(steps) == 1:
        (first,) = steps

        def find_in(record: Any) -> Any:
            holder = record.get(first)
            return holder.get(last) if type(holder) is dict else None

        return find_in

    def find(record: Any) -> Any:
        for step in steps:
            record = record.get(step)
            if type(record) is not dict:
                return None
        return record.get(last)

    return find


def first_of(paths: Sequence[FieldPath]) -> Getter:
    """Finds the value of the first path that has one. An empty text is none."""
    getters = tuple(map(getter_of, paths))
    if len(getters) == 1:
        return getters[0]

    def find(record: Any) -> Any:
        for getter in getters:
            value = getter(record)
            if value is not None and value != "":
                return value
        return None

    return find
