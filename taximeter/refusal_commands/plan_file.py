"""A plan of corrections in its directory."""

from pathlib import Path
from typing import Final

import orjson

from taximeter.refusal_commands.correction_plan import CorrectionPlan, NoPlan, plan_of

CORRECTIONS_FILE: Final = "corrections.json"


def read_plan(directory: Path) -> CorrectionPlan:
    """From its directory. Raises NoPlan."""
    try:
        document = orjson.loads((directory / CORRECTIONS_FILE).read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise NoPlan(f"{directory / CORRECTIONS_FILE} cannot be read: {error}") from None
    return plan_of(document)


def write_plan(directory: Path, plan: CorrectionPlan) -> Path:
    """Into its directory, which is made; returns the file. Raises OSError, and FileExistsError where a plan is."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / CORRECTIONS_FILE
    with path.open("xb") as file:
        file.write(orjson.dumps(plan.as_json(), option=orjson.OPT_INDENT_2) + b"\n")
    return path
