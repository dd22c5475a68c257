"""Runs a service or command for which a version of the catalogue may hold seconds after it was published: `python -m ... MODULE ARGS`.

Every process that reads the same log must be started like this. The rule stays the same; only its times are short.
"""

import runpy
import sys
from typing import Any, Final

NOTICE_MS: Final = 6_000
CLOCKS_APART_MS: Final = 1_000


def _main() -> None:
    # Before anything else imports them: others take over the values by name.
    from audit.recount import published_versions
    from metering.folds import catalogue_timeline

    short: list[tuple[Any, str, int]] = [
        (catalogue_timeline, "NOTICE_MS_MIN", NOTICE_MS),
        (catalogue_timeline, "CLOCKS_APART_MS", CLOCKS_APART_MS),
        (published_versions, "NOTICE_MS", NOTICE_MS),
        (published_versions, "UNSURE_MS", CLOCKS_APART_MS),
    ]
    for module, name, value in short:
        assert hasattr(module, name), name
        setattr(module, name, value)
    _, module_name, *arguments = sys.argv
    sys.argv = [module_name, *arguments]
    runpy.run_module(module_name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
