"""The named presets: mappings for known senders, as data beside this module. Pure, once read."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Preset:
    """What it is for, which client it was checked with, and its tables by part."""

    about: str
    checked: str
    parts: Mapping[str, Mapping[str, Any]]


@cache
def _text() -> str:
    return (files("ingest.mappings") / "presets.toml").read_text()


def preset_text(name: str) -> str | None:
    """A preset as the file has it, with its comments; None if there is no such preset."""
    _, found, rest = _text().partition(f"[{name}]\n")
    if not found or name not in presets():
        return None
    others = [rest.find(f"[{other}]\n") for other in presets()]
    return f"{found}{rest[: min((place for place in others if place >= 0), default=len(rest))].rstrip()}\n"


@cache
def presets() -> Mapping[str, Preset]:
    """All presets by name. Reads a file of this package, once."""
    document = tomllib.loads(_text())
    return {name: Preset(entry["about"], entry["checked"], entry["parts"]) for name, entry in document.items()}


def tables_of(entry: Mapping[str, Any]) -> list[Mapping[str, Any]] | str:
    """The tables that a `[[mappings]]` entry stands for; its own keys go before those of its preset. A text says what is wrong."""
    preset = entry.get("preset")
    if preset is None:
        return [entry]
    own = {key: value for key, value in entry.items() if key != "preset"}
    name, point, part = str(preset).partition(".")
    known = presets()
    if name not in known or (point and part not in known[name].parts):
        return f"there is no preset {preset!r}; known are {', '.join(all_names())}"
    chosen = [part] if point else list(known[name].parts)
    found: list[Mapping[str, Any]] = []
    for each in chosen:
        named = f"{own['name']}.{each}" if "name" in own and len(chosen) > 1 else own.get("name", f"{name}.{each}")
        found.append({**known[name].parts[each], **own, "name": named})
    return found


def all_names() -> list[str]:
    """Every preset, and every part of one that has several."""
    found = []
    for name, preset in presets().items():
        found.append(name)
        found += [f"{name}.{part}" for part in preset.parts if len(preset.parts) > 1]
    return found
