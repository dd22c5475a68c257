"""What browsers fetch is what was taken from elsewhere, unchanged, with its licence beside it."""

from hashlib import sha256

from console.serving.console_server import STATIC
from tests.support.repository import ROOT

FOLDER = ROOT / "console/pages/static"
HTMX = "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717"  # dist/htmx.min.js of htmx.org 2.0.11


def test_htmx_is_as_it_was_published() -> None:
    assert sha256((FOLDER / "htmx.min.js").read_bytes()).hexdigest() == HTMX
    assert "Zero-Clause BSD" in (FOLDER / "htmx.LICENSE").read_text()


def test_all_that_is_there_is_served_but_the_licence() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {*STATIC, "htmx.LICENSE"}
