"""The native reader keeps the bounds that Python keeps."""

import re

from taximeter_emitter.wire import batch, kept_ids, limits

from aggregator.reading import plain_reader
from metering.records import service_limits
from tests.support.repository import ROOT

HERE = {name: value for module in (limits, batch, kept_ids, service_limits, plain_reader) for name, value in vars(module).items()}
# Of what it remembers, and of the mask of usage fields.
ITS_OWN = {"SERIES_BYTES_MAX", "SERIES_MAX", "CATALOGUE_FIELDS_MAX"}


def test_each_bound_is_that_of_python() -> None:
    source = (ROOT / "native/src/limits.rs").read_text()
    found = {name: int(value.replace("_", "")) for name, value in re.findall(r"^pub const (\w+): usize = ([\d_]+);$", source, re.MULTILINE)}
    assert len(found) == source.count("pub const ") == 18
    assert found.keys() - HERE.keys() == ITS_OWN
    assert {name: value for name, value in found.items() if name not in ITS_OWN} == {name: HERE[name] for name in found.keys() - ITS_OWN}
