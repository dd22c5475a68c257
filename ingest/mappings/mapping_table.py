"""One `[[mappings]]` table: what may be in it, and what is wrong with it. Pure.

[[mappings]]
name = "requests"
path = "/v1/from/requests"
id = ["request_id", "finished"]
source = "requests"                       # a text of one's own, or {path = "..."}
customer = ["account.stripe", "account.id"]
time = {path = "finished", unit = "s"}
only = {event = ["request_finished"]}     # other records are left out
leave_out = [{status = [500, 503]}]       # and so are these; [] means "has none"
refused = "set_aside"                     # or "answer"
split = ["cached"]
usage.input_tokens = {path = "usage.in", less = ["usage.in_cached"]}
usage.requests = 1
dimensions.model = "model"
dimensions.outcome = {path = "code", values = {"499" = "aborted"}, default = "ok"}
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from taximeter_emitter.wire.limits import DIMENSION_VALUE_CHARS_MAX, DIMENSIONS_MAX, NAME_CHARS_MAX, QUANTITY_MAX, SOURCE_CHARS_MAX, USAGE_FIELDS_MAX

from ingest.mappings.field_paths import PATH_STEPS_MAX, FieldPath, path_text, read_path
from ingest.mappings.rules import TIME_UNITS, Paths, QuantityRule, RecordCondition, TextTable

BODY_FORMS: Final = ("records", "cloudevents", "otlp")
ANSWER_FORMS: Final = ("counts", "empty", "otlp")
REFUSED: Final = ("set_aside", "answer")
MAPPING_KEYS: Final = frozenset(
    "name path types form answer refused id source customer time only leave_out usage dimensions members splits split".split()  # noqa: SIM905
)
_LIST_MAX: Final = 32
_SCALE_MAX: Final = 1_000_000
_PATH_WRONG: Final = f'must be a path such as data.tokens or attributes."gen_ai.system", of at most {PATH_STEPS_MAX} names'


@dataclass(frozen=True, slots=True)
class Members:
    """Every member of the object `of` is taken by its own name: numbers are usage, texts are dimensions, and `ignore` are neither.

    All members of the object `texts`, which may be missing, are dimensions.
    """

    of: FieldPath
    texts: FieldPath | None = None
    ignore: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingTable:
    """One mapping, read and checked. `types`: the CloudEvents that it is for; empty for every record of its path."""

    name: str
    path: str
    types: tuple[str, ...] = ()
    form: str = "records"
    answer: str = "counts"
    refused: str = "set_aside"
    id: tuple[Paths, ...] = ()
    source: TextTable = field(default_factory=TextTable)
    customer: TextTable = field(default_factory=TextTable)
    time: Paths = ()
    time_unit: str = "rfc3339"
    only: tuple[RecordCondition, ...] = ()
    leave_out: tuple[RecordCondition, ...] = ()
    usage: Mapping[str, QuantityRule] = field(default_factory=dict)
    dimensions: Mapping[str, TextTable] = field(default_factory=dict)
    members: Members | None = None


class TableReader:
    """Reads one table, and notes everything that is wrong with it in `problems`."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self.problems: list[str] = []
        self._table = table
        self._where = where

    def read(self) -> MappingTable | None:
        """The mapping; None if there are problems."""
        table = self._table
        self._known(table, MAPPING_KEYS, self._where)
        time, unit = self._time(table.get("time"))
        usage = self._usage(table.get("usage", {}))
        found = MappingTable(
            name=self._text("name", NAME_CHARS_MAX),
            path=self._http_path(table.get("path")),
            types=self._texts("types"),
            form=self._choice("form", BODY_FORMS),
            answer=self._choice("answer", ANSWER_FORMS),
            refused=self._choice("refused", REFUSED),
            id=self._parts(table.get("id"), "id", least=1),
            source=self._source(table.get("source")),
            customer=self._text_table(table.get("customer"), "customer", frozenset({"path", "nobody"})),
            time=time,
            time_unit=unit,
            only=self._conditions(table.get("only", []), "only"),
            leave_out=self._conditions(table.get("leave_out", []), "leave_out"),
            usage=usage,
            dimensions=self._dimensions(table.get("dimensions", {})),
            members=self._members(table["members"]) if "members" in table else None,
        )
        self._between(found)
        return None if self.problems else found

    def _between(self, found: MappingTable) -> None:
        if not found.usage and found.members is None:
            self._wrong("usage", "must name a usage field at least, such as usage.tokens = 'data.tokens'")
        if found.types and found.form != "cloudevents":
            self._wrong("types", 'only CloudEvents have types: write form = "cloudevents"')
        if (found.form == "otlp") != (found.answer == "otlp"):
            self._wrong("answer", 'form = "otlp" and answer = "otlp" belong together')

    def _wrong(self, key: str, detail: str) -> None:
        self.problems.append(f"{self._where}.{key}: {detail}")

    def _known(self, table: Mapping[str, Any], keys: Iterable[str], where: str) -> None:
        known = sorted(keys)
        self.problems += [f"{where}: unknown key {key!r}; known are {', '.join(known)}" for key in sorted(set(table) - set(known))]

    def _text(self, key: str, chars_max: int) -> str:
        value = self._table.get(key)
        if not _is_text(value, chars_max):
            self._wrong(key, f"must be a text of 1 to {chars_max} characters, is {value!r}")
        return str(value)

    def _texts(self, key: str) -> tuple[str, ...]:
        return self._listed(self._table.get(key, []), key, _text_or_none, "must be a list of texts")

    def _choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self._table.get(key, choices[0])
        if value not in choices:
            self._wrong(key, f"must be one of {', '.join(choices)}, is {value!r}")
        return str(value)

    def _listed(self, values: object, key: str, read: Callable[[Any], Any], wrong: str) -> tuple[Any, ...]:
        if not isinstance(values, list) or len(values) > _LIST_MAX:
            self._wrong(key, f"{wrong}, at most {_LIST_MAX}, is {values!r}")
            return ()
        found = tuple(map(read, values))
        if None in found:
            self._wrong(key, f"{wrong}, is {values!r}")
            return ()
        return found

    def _http_path(self, value: object) -> str:
        if not (_is_text(value, 128) and str(value).startswith("/") and not set(str(value)) & set("?#%{} ")):
            self._wrong("path", f"must be the path that the sender posts to, such as /v1/from/requests, is {value!r}")
        return str(value)

    def _parts(self, values: object, key: str, *, least: int) -> tuple[Paths, ...]:
        """Several values, each at a path or at the first of several."""
        parts = values if isinstance(values, list) else [values]
        if not least <= len(parts) <= _LIST_MAX:
            self._wrong(key, f"{_PATH_WRONG}, is {values!r}")
            return ((("?",),),)
        return tuple(self._paths(part, key) or (("?",),) for part in parts)

    def _paths(self, value: object, key: str) -> Paths:
        found = self._listed(value if isinstance(value, list) else [value], key, read_path, _PATH_WRONG)
        if not found and value == []:
            self._wrong(key, f"{_PATH_WRONG}, is empty")
        return found

    def _one_path(self, value: object, key: str) -> FieldPath:
        found = read_path(value)
        if found is None:
            self._wrong(key, f"{_PATH_WRONG}, is {value!r}")
        return found or ("?",)

    def _source(self, value: object) -> TextTable:
        if isinstance(value, dict):
            return self._text_table(value, "source", frozenset({"path"}))
        return TextTable(constant=self._text("source", SOURCE_CHARS_MAX))

    def _time(self, value: object) -> tuple[Paths, str]:
        if value is None:
            return (), "rfc3339"
        if not isinstance(value, dict):
            return self._paths(value, "time"), "rfc3339"
        self._known(value, ("path", "unit"), f"{self._where}.time")
        unit = value.get("unit", "rfc3339")
        if unit not in TIME_UNITS:
            self._wrong("time.unit", f"must be one of {', '.join(TIME_UNITS)}, is {unit!r}")
        return self._paths(value.get("path"), "time.path"), str(unit)

    def _text_table(self, value: object, key: str, known: frozenset[str]) -> TextTable:
        if not isinstance(value, dict):
            return TextTable(self._paths(value, key))
        self._known(value, known, f"{self._where}.{key}")
        if "text" in value:
            if not _is_text(value["text"], DIMENSION_VALUE_CHARS_MAX) or len(value) > 1:
                self._wrong(f"{key}.text", "must be a text, and stand alone")
            return TextTable(constant=str(value["text"]))
        values = value.get("values")
        if values is not None and not (isinstance(values, dict) and all(_is_text(text, DIMENSION_VALUE_CHARS_MAX) for text in values.values())):
            self._wrong(f"{key}.values", f"must be a table of texts, is {values!r}")
            values = None
        default = value.get("default")
        if default is not None and not _is_text(default, DIMENSION_VALUE_CHARS_MAX):
            self._wrong(f"{key}.default", f"must be a text, is {default!r}")
        nobody = self._listed(
            value.get("nobody", []), f"{key}.nobody", lambda text: text if isinstance(text, str) else None, "must be a list of texts"
        )
        return TextTable(self._paths(value.get("path"), f"{key}.path"), values=values, default=default, nobody=frozenset(nobody))

    def _dimensions(self, table: object) -> dict[str, TextTable]:
        known = frozenset({"path", "values", "default", "text"})
        return {name: self._text_table(value, f"dimensions.{name}", known) for name, value in self._named(table, "dimensions", DIMENSIONS_MAX)}

    def _named(self, table: object, key: str, most: int) -> list[tuple[str, object]]:
        if not isinstance(table, dict) or len(table) > most or not all(_is_text(name, NAME_CHARS_MAX) for name in table):
            self._wrong(key, f"must be a table of at most {most} names, is {table!r}")
            return []
        return list(table.items())

    def _usage(self, table: object) -> dict[str, QuantityRule]:
        rules = {name: self._quantity(value, f"usage.{name}") for name, value in self._named(table, "usage", USAGE_FIELDS_MAX)}
        splits, split = self._table.get("splits", {}), self._texts("split")
        if not isinstance(splits, dict) or not all(isinstance(fields, dict) for fields in splits.values()):
            self._wrong("splits", "must be a table of tables of usage fields")
            return rules
        for name in split:
            if name not in splits:
                self._wrong("split", f"there is no {name!r}; known are {', '.join(sorted(splits)) or 'none'}")
        for name, fields in splits.items():
            for part, value in fields.items():
                self._split(rules, part, value, f"splits.{name}.{part}", wanted=name in split)
        if len(rules) > USAGE_FIELDS_MAX:
            self._wrong("split", f"an event has at most {USAGE_FIELDS_MAX} usage fields")
        return rules

    def _split(self, rules: dict[str, QuantityRule], part: str, value: object, key: str, *, wanted: bool) -> None:
        """Take a part out of its whole, so that each unit is in one field."""
        if not isinstance(value, dict) or set(value) != {"path", "of"} or value["of"] not in rules:
            self._wrong(key, 'must be a table such as {path = "usage.cached", of = "input_tokens"}, of a usage field of this mapping')
            return
        paths, whole = self._paths(value["path"], key), rules[value["of"]]
        if wanted:
            rules[value["of"]] = QuantityRule(whole.paths, (*whole.less, paths), whole.constant, whole.scale, whole.is_optional)
            rules[part] = QuantityRule(paths, is_optional=True)

    def _quantity(self, value: object, key: str) -> QuantityRule:
        if type(value) is int:
            if not 0 <= value <= QUANTITY_MAX:
                self._wrong(key, f"must be from 0 to {QUANTITY_MAX}, is {value}")
            return QuantityRule(constant=value)
        if not isinstance(value, dict):
            return QuantityRule(self._paths(value, key))
        self._known(value, ("path", "less", "scale", "optional"), f"{self._where}.{key}")
        scale, is_optional = value.get("scale", 1), value.get("optional", False)
        if type(scale) is not int or not 1 <= scale <= _SCALE_MAX:
            self._wrong(f"{key}.scale", f"must be an integer from 1 to {_SCALE_MAX}, is {scale!r}")
        if type(is_optional) is not bool:
            self._wrong(f"{key}.optional", f"must be true or false, is {is_optional!r}")
        less = self._parts(value.get("less", []), f"{key}.less", least=0)
        paths = self._paths(value.get("path"), f"{key}.path")
        for path in set(paths) & {each for part in less for each in part}:
            self._wrong(f"{key}.less", f"{path_text(path)} less itself comes to nothing")
        return QuantityRule(paths, less, None, scale if type(scale) is int else 1, is_optional is True)

    def _conditions(self, values: object, key: str) -> tuple[RecordCondition, ...]:
        """A condition, or several, of which one must hold."""
        if isinstance(values, dict):
            return (self._condition(values, key),)
        if not isinstance(values, list) or len(values) > _LIST_MAX:
            self._wrong(key, f"must be a list of tables such as {{status = [500]}}, is {values!r}")
            return ()
        return tuple(self._condition(value, f"{key}[{place}]") for place, value in enumerate(values, start=1))

    def _condition(self, table: object, key: str) -> RecordCondition:
        if not isinstance(table, dict) or not table or len(table) > _LIST_MAX:
            self._wrong(key, f"must be a table such as {{status = [500]}}, is {table!r}")
            return ()
        return tuple((self._one_path(path, key), self._values(values, f"{key}.{path}")) for path, values in table.items())

    def _values(self, values: object, key: str) -> frozenset[Any]:
        if not isinstance(values, list) or len(values) > _LIST_MAX or not all(type(value) in {str, int, bool, float} for value in values):
            self._wrong(key, f"must be a list of texts, numbers or booleans; [] means having none; is {values!r}")
            return frozenset()
        return frozenset((type(value), value) for value in values or [None])

    def _members(self, value: object) -> Members:
        if not isinstance(value, dict) or "of" not in value:
            self._wrong("members", f'must be a table such as {{of = "data", ignore = ["cost"]}}, is {value!r}')
            return Members(("?",))
        self._known(value, ("of", "texts", "ignore"), f"{self._where}.members")
        ignored = self._listed(
            value.get("ignore", []), "members.ignore", lambda text: text if isinstance(text, str) else None, "must be a list of names"
        )
        texts = self._one_path(value["texts"], "members.texts") if "texts" in value else None
        return Members(self._one_path(value["of"], "members.of"), texts, frozenset(ignored))


def _text_or_none(value: object) -> str | None:
    return str(value) if _is_text(value, SOURCE_CHARS_MAX) else None


def _is_text(value: object, chars_max: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= chars_max and value.isprintable()
