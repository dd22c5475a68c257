from dataclasses import dataclass
from pathlib import Path

import pytest

from metering.configuration.secrets import Secret
from metering.configuration.settings import SettingsError, describe, load, load_all, option, read_settings_file, secrets_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Every type a setting may have."""

    hosts: tuple[str, ...] = option(doc="Where to connect.", alias="SAMPLE_HOSTS")
    name: str = option(doc="A name.", default="meter")
    mode: str = option(doc="A mode.", default="fast", choices=("fast", "slow"))
    rows: int = option(doc="Rows.", default=10, unit="rows", minimum=1, maximum=100)
    wait_seconds: float = option(doc="A wait.", default=1.5, unit="seconds", minimum=0)
    strict: bool = option(doc="Strict.", default=True)
    folder: Path | None = option(doc="A folder.", default=None)
    token: Secret | None = option(doc="A token.", default=None, alias="SAMPLE_TOKEN")
    keys: tuple[Secret, ...] = option(doc="Keys.", default=())

    def problems(self) -> tuple[str, ...]:
        return ("mode slow needs strict",) if self.mode == "slow" and not self.strict else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """A second section."""

    limit: int = option(doc="A limit.")


def problems_of(environ: dict[str, str], file: dict[str, object] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(Sample, environ=environ, file=file, section="sample")
    return caught.value.problems


def test_every_type_is_read_from_the_environment() -> None:
    environ = {
        "TAXIMETER_SAMPLE_HOSTS": "a:1, b:2",
        "TAXIMETER_SAMPLE_ROWS": "1_00",
        "TAXIMETER_SAMPLE_WAIT_SECONDS": "0.25",
        "TAXIMETER_SAMPLE_STRICT": "No",
        "TAXIMETER_SAMPLE_FOLDER": "/var/x",
        "TAXIMETER_SAMPLE_TOKEN": "t0ken",
        "TAXIMETER_SAMPLE_KEYS": "one,two",
    }
    sample = load(Sample, environ=environ, section="sample")
    assert sample == Sample(
        hosts=("a:1", "b:2"),
        rows=100,
        wait_seconds=0.25,
        strict=False,
        folder=Path("/var/x"),
        token=Secret("t0ken"),
        keys=(Secret("one"), Secret("two")),
    )


def test_the_environment_prevails_over_the_file_and_the_file_over_the_default() -> None:
    file = {"sample": {"hosts": ["file:1"], "rows": 20, "wait_seconds": 3}, "meters": [{"name": "x"}]}
    sample = load(Sample, environ={"TAXIMETER_SAMPLE_ROWS": "30"}, file=file, section="sample")
    assert (sample.hosts, sample.rows, sample.wait_seconds, sample.name) == (("file:1",), 30, 3.0, "meter")


def test_the_alias_sets_a_value_and_the_own_name_prevails() -> None:
    assert load(Sample, environ={"SAMPLE_HOSTS": "a:1"}, section="sample").hosts == ("a:1",)
    both = {"SAMPLE_HOSTS": "a:1", "TAXIMETER_SAMPLE_HOSTS": "b:2"}
    assert load(Sample, environ=both, section="sample").hosts == ("b:2",)


def test_a_variable_set_to_nothing_counts_as_not_set() -> None:
    sample = load(Sample, environ={"TAXIMETER_SAMPLE_HOSTS": "a:1", "TAXIMETER_SAMPLE_ROWS": ""}, section="sample")
    assert sample.rows == 10
    assert "TAXIMETER_SAMPLE_HOSTS (or SAMPLE_HOSTS) is not set" in problems_of({"TAXIMETER_SAMPLE_HOSTS": ""})[0]


def test_all_problems_of_all_sections_are_named_at_once() -> None:
    environ = {"TAXIMETER_SAMPLE_ROWS": "many", "TAXIMETER_SAMPLE_MODE": "quick", "TAXIMETER_OTHER_LIMITS": "3"}
    with pytest.raises(SettingsError) as caught:
        load_all({"sample": Sample, "other": Other}, environ=environ)
    assert caught.value.problems == (
        "TAXIMETER_SAMPLE_HOSTS (or SAMPLE_HOSTS) is not set; it takes texts separated by commas (in the file: an array). Where to connect.",
        "TAXIMETER_SAMPLE_MODE is quick: not one of the choices; it takes one of fast, slow",
        "TAXIMETER_SAMPLE_ROWS is many: not an integer; it takes an integer of rows from 1 to 100",
        "TAXIMETER_OTHER_LIMIT is not set; it takes an integer. A limit.",
        "TAXIMETER_OTHER_LIMITS is not a setting of [other]; did you mean TAXIMETER_OTHER_LIMIT?",
    )


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ROWS", "0"),
        ("ROWS", "101"),
        ("ROWS", "1.0"),
        ("ROWS", "9" * 5000),
        ("WAIT_SECONDS", "nan"),
        ("WAIT_SECONDS", "inf"),
        ("WAIT_SECONDS", "-0.1"),
        ("WAIT_SECONDS", "5s"),
        ("STRICT", "maybe"),
        ("NAME", "x" * 70_000),
    ],
)
def test_a_value_outside_its_type_or_bounds_is_refused_by_name(variable: str, text: str) -> None:
    (problem,) = problems_of({"SAMPLE_HOSTS": "a:1", f"TAXIMETER_SAMPLE_{variable}": text})
    assert problem.startswith(f"TAXIMETER_SAMPLE_{variable} is ")
    assert len(problem) < 300


@pytest.mark.parametrize(
    ("key", "value"),
    [("rows", True), ("rows", 1.0), ("rows", "5"), ("strict", 1), ("wait_seconds", "1"), ("name", 3), ("name", ""), ("hosts", "a:1"), ("hosts", [1])],
)
def test_the_file_must_use_the_declared_type(key: str, value: object) -> None:
    (problem,) = problems_of({"SAMPLE_HOSTS": "a:1"} if key != "hosts" else {}, {"sample": {key: value}})
    assert problem.startswith(f"{key} in [sample] is ")


def test_unknown_keys_and_variables_are_refused_with_the_nearest_name() -> None:
    problems = problems_of({"SAMPLE_HOSTS": "a:1", "TAXIMETER_SAMPLE_ROW": "3"}, {"sample": {"nmae": "x"}})
    assert problems == (
        "TAXIMETER_SAMPLE_ROW is not a setting of [sample]; did you mean TAXIMETER_SAMPLE_ROWS?",
        "nmae in [sample] is not a setting; did you mean name?",
    )


def test_other_services_variables_are_ignored_unless_the_sections_are_known() -> None:
    environ = {"TAXIMETER_OTHER_LIMIT": "1", "TAXIMETER_REPORTER_RATE": "2", "TAXIMETER_OHTER_LIMIT": "3"}
    assert load(Other, environ=environ, section="other") == Other(limit=1)
    with pytest.raises(SettingsError) as caught:
        load_all({"other": Other}, environ=environ, file={"repotrer": {}}, known_sections=("reporter",))
    assert caught.value.problems == (
        "TAXIMETER_OHTER_LIMIT belongs to no section; did you mean TAXIMETER_OTHER_LIMIT?",
        "[repotrer] is not a section of the settings file; did you mean reporter?",
    )


def test_a_variable_of_a_longer_section_name_is_not_charged_to_the_shorter() -> None:
    environ = {"TAXIMETER_OTHER_LIMIT": "1", "TAXIMETER_OTHER_PLACE_LIMIT": "2"}
    loaded = load_all({"other": Other, "other_place": Other}, environ=environ)
    assert loaded == {"other": Other(limit=1), "other_place": Other(limit=2)}


def test_a_secret_is_read_from_a_file_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    sample = load(Sample, environ={"SAMPLE_HOSTS": "a:1", "SAMPLE_TOKEN_FILE": str(path)}, section="sample")
    assert sample.token is not None
    assert sample.token.reveal() == "s3cret"
    path.write_text("one\ntwo\n")
    keys = load(Sample, environ={"SAMPLE_HOSTS": "a:1", "TAXIMETER_SAMPLE_KEYS_FILE": str(path)}, section="sample").keys
    assert [key.reveal() for key in keys] == ["one", "two"]


def test_a_secret_given_twice_or_in_a_missing_file_is_refused_without_showing_it(tmp_path: Path) -> None:
    both = {"SAMPLE_HOSTS": "a", "TAXIMETER_SAMPLE_TOKEN": "planted", "TAXIMETER_SAMPLE_TOKEN_FILE": str(tmp_path / "t")}
    assert problems_of(both) == ("TAXIMETER_SAMPLE_TOKEN and TAXIMETER_SAMPLE_TOKEN_FILE are both set; keep one",)
    (missing,) = problems_of({"SAMPLE_HOSTS": "a", "TAXIMETER_SAMPLE_TOKEN_FILE": str(tmp_path / "t")})
    assert "cannot be read: FileNotFoundError" in missing


def test_no_error_repeats_a_secret() -> None:
    (problem,) = problems_of({"SAMPLE_HOSTS": "a"}, {"sample": {"keys": "planted-secret"}})
    assert problem.startswith("keys in [sample] is (secret): not an array")
    (too_long,) = problems_of({"SAMPLE_HOSTS": "a", "SAMPLE_TOKEN": "planted" * 10_000})
    assert "planted" not in too_long


def test_rules_between_fields_are_checked_after_the_fields() -> None:
    environ = {"SAMPLE_HOSTS": "a", "TAXIMETER_SAMPLE_MODE": "slow", "TAXIMETER_SAMPLE_STRICT": "off"}
    assert problems_of(environ) == ("[sample] mode slow needs strict",)


def test_a_section_that_is_no_table_is_refused() -> None:
    assert "sample in the settings file is not a table; write [sample]" in problems_of({"SAMPLE_HOSTS": "a"}, {"sample": 3})


def test_a_class_whose_variables_collide_is_a_programming_error() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Colliding:
        key: Secret = option(doc="A key.")
        key_file: Path = option(doc="Its file.")

    with pytest.raises(TypeError, match="same variable"):
        load(Colliding, environ={}, section="sample")


def test_a_field_of_another_type_or_without_option_is_a_programming_error() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Wrong:
        rate: complex = option(doc="A rate.")

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Bare:
        rate: int = 3

    with pytest.raises(TypeError, match="not a type"):
        load(Wrong, environ={}, section="sample")
    with pytest.raises(TypeError, match="option"):
        load(Bare, environ={}, section="sample")


def test_describe_lists_each_option_with_what_it_takes() -> None:
    rows = {row.key: row for row in describe(Sample, "sample")}
    assert next(iter(rows)) == "hosts"
    assert rows["hosts"].required
    assert rows["hosts"].alias == "SAMPLE_HOSTS"
    assert (rows["rows"].variable, rows["rows"].type, rows["rows"].default) == ("TAXIMETER_SAMPLE_ROWS", "integer", "10")
    assert (rows["token"].secret, rows["token"].default) == (True, "none")
    assert rows["strict"].default == "true"


def test_the_file_is_parsed_and_a_broken_one_is_named(tmp_path: Path) -> None:
    path = tmp_path / "taximeter.toml"
    path.write_text('[sample]\nname = "x"\n[[meters]]\nevent_name = "tokens"\n')
    assert read_settings_file(path)["sample"] == {"name": "x"}
    path.write_text("[sample\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        read_settings_file(path)
    path.write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(SettingsError, match="larger than"):
        read_settings_file(path)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_settings_file(tmp_path / "absent.toml")


def test_secrets_of_collects_single_and_many() -> None:
    sample = Sample(hosts=(), token=Secret("a"), keys=(Secret("b"), Secret("c")))
    assert secrets_of(sample, Other(limit=1)) == (Secret("a"), Secret("b"), Secret("c"))
