"""The command line of every service: `python -m <service> [--config FILE] [--check-config]`."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from metering.configuration.setting_values import FILE_VARIABLE
from metering.configuration.settings import SettingsError, load_all, read_settings_file, secrets_of
from metering.process.probe import EXIT_USAGE
from metering.process.service import EXIT_OK, ServiceContext, ServiceSettings, run_service

DEFAULT_FILE: Final = "taximeter.toml"

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Configuration:
    """Checked settings by section, and the parsed settings file, which also has things that are not settings, such as meters."""

    sections: Mapping[str, Any]
    file: Mapping[str, Any]

    def of(self, settings_class: type[S]) -> S:
        """The settings of this class. Raises KeyError if the service did not declare the class."""
        for settings in self.sections.values():
            if isinstance(settings, settings_class):
                return settings
        raise KeyError(settings_class.__name__)


ConfiguredMain = Callable[[ServiceContext, Configuration], Coroutine[Any, Any, None]]
FileCheck = Callable[[Mapping[str, Any]], Iterable[str]]


def load_configuration(
    sections: Mapping[str, type], *, environ: Mapping[str, str], file: Path | None = None, check_file: FileCheck = lambda _: ()
) -> Configuration:
    """Read and check everything a process needs. Raises SettingsError with all problems at once.

    The file is `file`, else the one that TAXIMETER_CONFIG names, else ./taximeter.toml if there is one. `check_file` returns
    the problems of everything in it that is not a setting.
    """
    path = file or (Path(environ[FILE_VARIABLE]) if environ.get(FILE_VARIABLE) else None)
    if path is None and Path(DEFAULT_FILE).is_file():
        path = Path(DEFAULT_FILE)
    document = read_settings_file(path) if path is not None else {}
    problems = list(check_file(document))
    loaded: Mapping[str, Any] = {}
    try:
        loaded = load_all(sections, environ=environ, file=document)
    except SettingsError as error:
        problems = [*error.problems, *problems]
    if problems:
        raise SettingsError(problems)
    return Configuration(loaded, document)


def service_command(
    main: ConfiguredMain,
    *,
    name: str,
    summary: str,
    sections: Mapping[str, type],
    check_file: FileCheck = lambda _: (),
    module: str = "",
    arguments: Sequence[str] | None = None,
    new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
) -> int:
    """Parse the arguments, check the configuration, run the service. Returns the exit code of the process.

    `module` is the package that `python -m` runs, if it is not called like the service. `sections` maps section names to settings classes;
    `service` is added. `new_event_loop` is as for `run_service`.
    Exit code 3: the arguments or the configuration are wrong.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module or name}", description=summary)
    parser.add_argument("--config", type=Path, metavar="FILE", help=f"settings file (default: ${FILE_VARIABLE}, then ./{DEFAULT_FILE})")
    parser.add_argument("--check-config", action="store_true", help="check the configuration, print every problem, and exit")
    parsed = parser.parse_args(arguments)
    try:
        configuration = load_configuration({**sections, "service": ServiceSettings}, environ=os.environ, file=parsed.config, check_file=check_file)
    except SettingsError as error:
        for problem in error.problems:
            print(f"{name}: {problem}", file=sys.stderr)
        return EXIT_USAGE
    if parsed.check_config:
        print(f"{name}: the configuration is valid")
        return EXIT_OK
    secrets = secrets_of(*configuration.sections.values())
    return run_service(
        lambda context: main(context, configuration),
        name=name,
        settings=configuration.of(ServiceSettings),
        secrets=secrets,
        new_event_loop=new_event_loop,
    )
