"""Settings: declared beside the code that uses them, read from the environment and one file, checked all at once.

A service declares a frozen dataclass whose fields are made by `option`. The first source that has a value wins: the environment
(`TAXIMETER_<SECTION>_<FIELD>`, then the alias of the option), the table `[<section>]` of the file, the default. An empty environment
variable counts as not set. A secret may have a file of its own, named by `TAXIMETER_<SECTION>_<FIELD>_FILE`.
"""

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Collection, Iterator, Mapping
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast, runtime_checkable

from taximeter_emitter.wire.errors import TaximeterError

from metering.configuration.secrets import Secret
from metering.configuration.setting_values import (
    FILE_VARIABLE,
    PREFIX,
    TEXT_CHARS_MAX,
    Bounds,
    RefusedValueError,
    ValueType,
    accepted,
    from_file,
    from_text,
    shown,
    value_type,
)

FILE_BYTES_MAX: Final = 1024 * 1024

_KEY: Final = "taximeter.option"

S = TypeVar("S")


class SettingsError(TaximeterError):
    """The settings cannot be used. `problems` has one sentence for each problem, without secrets."""

    def __init__(self, problems: Collection[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@runtime_checkable
class SelfChecking(Protocol):
    """A settings class with rules between its fields."""

    def problems(self) -> tuple[str, ...]:
        """One sentence for each broken rule, with the names of the fields."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One option, for the generated documentation."""

    variable: str
    alias: str
    section: str
    key: str
    type: str
    unit: str
    default: str
    required: bool
    secret: bool
    accepted: str
    doc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Option:
    doc: str
    unit: str
    bounds: Bounds
    alias: str


def option(
    *,
    doc: str,
    default: Any = MISSING,
    unit: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    alias: str = "",
) -> Any:
    """Declare one setting. Without a default it is required. `doc` is one sentence; `alias` is another variable that can set it."""
    about = _Option(doc=doc, unit=unit, bounds=Bounds(minimum=minimum, maximum=maximum, choices=choices), alias=alias)
    return dataclasses.field(default=default, metadata={_KEY: about})


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a settings class in one section: everything needed to find and read its value."""

    section: str
    key: str
    kind: ValueType
    option: _Option
    default: Any

    @property
    def variable(self) -> str:
        return f"{PREFIX}{self.section.upper()}_{self.key.upper()}"

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that can set it; the first one prevails."""
        return (self.variable, self.option.alias) if self.option.alias else (self.variable,)

    @property
    def accepted(self) -> str:
        return accepted(self.kind, self.option.bounds, self.option.unit)

    def names(self) -> Iterator[str]:
        """All environment variables that belong to it."""
        for variable in self.variables:
            yield variable
            if self.kind.is_secret:
                yield f"{variable}_FILE"


def _fields(settings_class: type, section: str) -> tuple[_Field, ...]:
    hints = typing.get_type_hints(settings_class)
    found = []
    for field in dataclasses.fields(settings_class):
        about = field.metadata.get(_KEY)
        if not isinstance(about, _Option):
            raise TypeError(f"{settings_class.__name__}.{field.name} is not made by option()")
        found.append(_Field(section, field.name, value_type(hints[field.name]), about, field.default))
    names = [name for field in found for name in field.names()]
    if len(names) != len(set(names)):
        raise TypeError(f"two options of {settings_class.__name__} are set by the same variable")
    return tuple(found)


def load(settings_class: type[S], *, environ: Mapping[str, str], file: Mapping[str, Any] | None = None, section: str) -> S:
    """Load the settings of one section, and read files of secrets. Raises SettingsError with all problems."""
    return cast("S", load_all({section: settings_class}, environ=environ, file=file)[section])


def load_all(
    classes: Mapping[str, type],
    *,
    environ: Mapping[str, str],
    file: Mapping[str, Any] | None = None,
    known_sections: Collection[str] | None = None,
) -> dict[str, Any]:
    """Load the settings of several sections (section name -> class). Raises SettingsError with all problems.

    With `known_sections`, a TAXIMETER_ variable or a table of the file is a problem too if it belongs neither to these sections nor to those
    that are loaded. Arrays of tables in the file, such as [[meters]], are ignored.
    """
    tables = file or {}
    problems: list[str] = []
    loaded: dict[str, Any] = {}
    fields = {section: _fields(settings_class, section) for section, settings_class in classes.items()}
    for section, settings_class in classes.items():
        instance, found = _load_section(section, settings_class, fields[section], environ, tables.get(section, {}))
        problems += found
        loaded[section] = instance
    problems += _unknown_variables(fields, environ, known_sections)
    problems += _unknown_keys(fields, tables, known_sections)
    if problems:
        raise SettingsError(problems)
    return loaded


def _load_section(section: str, settings_class: type, fields: tuple[_Field, ...], environ: Mapping[str, str], table: object) -> tuple[Any, list[str]]:
    keys = table if isinstance(table, Mapping) else {}
    values: dict[str, Any] = {}
    problems: list[str] = []
    for field in fields:
        try:
            values[field.key] = _value(field, environ, keys)
        except SettingsError as error:
            problems += error.problems
    if problems:
        return None, problems
    instance = settings_class(**values)
    if isinstance(instance, SelfChecking):
        problems += [f"[{section}] {problem}" for problem in instance.problems()]
    return instance, problems


def _value(field: _Field, environ: Mapping[str, str], table: Mapping[str, Any]) -> Any:
    """The value of a field, from the first source that has one. Raises SettingsError."""
    for variable in field.variables:
        text, secret_file = environ.get(variable, ""), environ.get(f"{variable}_FILE", "") if field.kind.is_secret else ""
        if text and secret_file:
            raise SettingsError([f"{variable} and {variable}_FILE are both set; keep one"])
        if secret_file:
            found = _parsed(field, f"{variable}_FILE", read_secret_file(f"{variable}_FILE", Path(secret_file)), None)
            return Secret(found.reveal(), file=Path(secret_file)) if isinstance(found, Secret) else found
        if text:
            return _parsed(field, variable, text, None)
    if field.key in table:
        return _parsed(field, f"{field.key} in [{field.section}]", None, table[field.key])
    if field.default is MISSING:
        also = f" (or {field.option.alias})" if field.option.alias else ""
        raise SettingsError([f"{field.variable}{also} is not set; it takes {field.accepted}. {field.option.doc}"])
    return field.default


def _parsed(field: _Field, source: str, text: str | None, value: object) -> Any:
    try:
        if text is not None:
            return from_text(text, field.kind, field.option.bounds)
        return from_file(value, field.kind, field.option.bounds)
    except RefusedValueError as refusal:
        given = shown(text if text is not None else value, field.kind)
        raise SettingsError([f"{source} is {given}: {refusal}; it takes {field.accepted}"]) from None


def read_secret_file(variable: str, path: Path) -> str:
    """The text of a file of a secret, without the line break at its end. `variable` names it. Raises SettingsError."""
    try:
        with path.open("rb") as file:
            content = file.read(TEXT_CHARS_MAX + 1)
        return content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"{variable} names {path}, which cannot be read: {type(error).__name__}"]) from None


def _unknown_variables(fields: Mapping[str, tuple[_Field, ...]], environ: Mapping[str, str], known_sections: Collection[str] | None) -> Iterator[str]:
    known = {name for group in fields.values() for field in group for name in field.names()} | {FILE_VARIABLE}
    sections = sorted({*fields, *(known_sections or ())}, key=len, reverse=True)
    for variable in sorted(environ):
        if variable in known or not variable.startswith(PREFIX):
            continue
        # The longest section wins: TAXIMETER_A_B_C belongs to a section a_b before a section a.
        owner = next((section for section in sections if variable.startswith(f"{PREFIX}{section.upper()}_")), None)
        if owner in fields:
            yield f"{variable} is not a setting of [{owner}]{_hint(variable, known)}"
        elif owner is None and known_sections is not None:
            yield f"{variable} belongs to no section{_hint(variable, known)}"


def _unknown_keys(fields: Mapping[str, tuple[_Field, ...]], tables: Mapping[str, Any], known_sections: Collection[str] | None) -> Iterator[str]:
    for section, table in tables.items():
        if section in fields and not isinstance(table, Mapping):
            yield f"{section} in the settings file is not a table; write [{section}]"
        elif section in fields:
            keys = {field.key for field in fields[section]}
            yield from (f"{key} in [{section}] is not a setting{_hint(key, keys)}" for key in sorted(table) if key not in keys)
        elif known_sections is not None and section not in known_sections and not isinstance(table, list):
            yield f"[{section}] is not a section of the settings file{_hint(section, {*fields, *known_sections})}"


def _hint(name: str, known: Collection[str]) -> str:
    nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def read_settings_file(path: Path) -> dict[str, Any]:
    """Parse a TOML file of at most FILE_BYTES_MAX bytes. Raises SettingsError when it cannot be read or parsed."""
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError([f"the settings file {path} cannot be read: {error.strerror or type(error).__name__}"]) from None
    if len(content) > FILE_BYTES_MAX:
        raise SettingsError([f"the settings file {path} is larger than {FILE_BYTES_MAX} bytes"])
    try:
        return tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError([f"the settings file {path} is not valid TOML: {error}"]) from None


def secrets_of(*settings: Any) -> tuple[Secret, ...]:
    """All secrets in these settings, so that logs can mask them."""
    found: list[Secret] = []
    for instance in settings:
        for field in dataclasses.fields(instance):
            value = getattr(instance, field.name)
            found += [item for item in (value if isinstance(value, tuple) else (value,)) if isinstance(item, Secret)]
    return tuple(found)


def describe(settings_class: type, section: str) -> tuple[SettingRow, ...]:
    """The options of a settings class in order of declaration, for the generated documentation."""
    return tuple(
        SettingRow(
            variable=field.variable,
            alias=field.option.alias,
            section=section,
            key=field.key,
            type=field.kind.words,
            unit=field.option.unit,
            default="" if field.default is MISSING else shown(field.default, field.kind),
            required=field.default is MISSING,
            secret=field.kind.is_secret,
            accepted=field.accepted,
            doc=field.option.doc,
        )
        for field in _fields(settings_class, section)
    )
