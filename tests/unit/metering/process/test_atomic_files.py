import os
from pathlib import Path

import pytest

from metering.process.atomic_files import write_atomically


def test_the_content_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "first é")
    with path.open() as reader:
        write_atomically(path, b"second", sync=True)
        assert reader.read() == "first é"
    assert path.read_text() == "second"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_private_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    write_atomically(path, "open")
    write_atomically(path, "secret", mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")

    def full(_: int) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="full"):
        write_atomically(path, "new", sync=True)
    assert path.read_text() == "old"
