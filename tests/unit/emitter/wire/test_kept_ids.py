import zlib
from base64 import b64encode

import pytest
from taximeter_emitter.wire.kept_ids import kept_id, pack_kept_ids, unpack_kept_ids


def test_what_is_packed_is_unpacked() -> None:
    lines = [kept_id("gpu", "req-1"), "", kept_id("", "ä" * 128), ""]
    assert unpack_kept_ids(pack_kept_ids(lines), 4) == [("gpu", "req-1"), ("", ""), ("", "ä" * 128), ("", "")]
    assert pack_kept_ids(["", ""]) == ""


@pytest.mark.parametrize(
    "text", ["?", b64encode(b"no stream").decode(), pack_kept_ids([kept_id("", "a")]), b64encode(zlib.compress(b"\xff\n")).decode()]
)
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # whatever is wrong with it, nothing but the look-up depends on it
        unpack_kept_ids(text, 2)


def test_a_text_that_grows_without_end_is_refused() -> None:
    with pytest.raises(ValueError, match="lines"):
        unpack_kept_ids(b64encode(zlib.compress(b"\n" * 6_000_000, 9)).decode(), 6_000_001)
