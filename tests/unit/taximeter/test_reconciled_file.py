"""What a comparison keeps, and what it goes on with."""

from pathlib import Path

import pytest

from metering.reconciliation.cells import CellKey, CellScope, CustomerMeter
from metering.reconciliation.comparison import ComparedCell, Comparison
from metering.records.notes.evidence import CellVerdict
from taximeter.reconcile_command.reconciled_file import ReconciledFile, SavedOtherwise

SCOPE = CellScope(0, 7_200_000, 3_600_000)
ANN, BOB = CustomerMeter("cus_1", "tokens"), CustomerMeter("cus_2", "tokens")
FOUND = [
    ComparedCell(CellKey(*ANN, 0), Comparison(CellVerdict.SETTLED, 2**80, 2**80, taken=(7,), note="1 parked")),
    ComparedCell(CellKey(*ANN, 3_600_000), Comparison(CellVerdict.UNREADABLE, 5, None)),
]


def kept(path: Path) -> dict[CustomerMeter, list[ComparedCell]]:
    file = ReconciledFile(path, SCOPE)
    file.close()
    return file.done(3)


def test_what_was_added_is_there_again(tmp_path: Path) -> None:
    file = ReconciledFile(tmp_path / "saved", SCOPE)
    file.add(3, ANN, FOUND)
    file.close()
    assert kept(tmp_path / "saved") == {ANN: FOUND}


def test_half_a_line_is_passed_over_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    file = ReconciledFile(path, SCOPE)
    file.add(3, ANN, FOUND)
    whole = path.stat().st_size
    file.add(3, BOB, [])
    file.close()
    path.write_bytes(path.read_bytes()[: whole + 5])
    again = ReconciledFile(path, SCOPE)
    assert again.done(3) == {ANN: FOUND}
    again.add(3, BOB, [])
    again.close()
    assert kept(path) == {ANN: FOUND, BOB: []}


def test_a_file_of_another_comparison_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    ReconciledFile(path, SCOPE).close()
    with pytest.raises(SavedOtherwise, match="of another comparison"):
        ReconciledFile(path, CellScope(0, 3_600_000, 3_600_000))


def test_another_kind_of_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "saved"
    path.write_text("dear diary\n")
    with pytest.raises(SavedOtherwise, match="not a file"):
        ReconciledFile(path, SCOPE)
    assert path.read_text() == "dear diary\n"
