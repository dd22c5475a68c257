"""HTML made of values. All text is escaped here, so a page cannot forget it."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final, NamedTuple

_VOID: Final = frozenset({"meta", "link", "input"})


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Child = str | int | None
"""What is in an element: HTML as it is, other text escaped, integers with separators, None for nothing."""

Attribute = str | int | bool | None


class Column(NamedTuple):
    """A column of a table; `number`: set to the right."""

    heading: str
    number: bool = False
    wraps: bool = False


def element(tag: str, *children: Child, **attributes: Attribute) -> Html:
    """One element. `class_` is the attribute class, and `_` in other names is a hyphen; None and False leave an attribute out."""
    said = "".join(
        f" {name.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{escape(str(value))}"')
        for name, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{tag}{said}>") if tag in _VOID else Html(f"<{tag}{said}>{joined(children)}</{tag}>")


def joined(children: Iterable[Child]) -> Html:
    """One after the other."""
    return Html("".join(_text(child) for child in children))


def table(caption: str, columns: Sequence[Column], rows: Iterable[Sequence[Child]], *, empty: str) -> Html:
    """A table that can be scrolled sideways, also by keys; the first cell of a row is its heading. Without rows: `empty`."""
    lines = [_row(columns, row) for row in rows]
    if not lines:
        return element("p", empty, class_="quiet")
    head = joined(element("th", column.heading, scope="col", class_=_class(column)) for column in columns)
    made = element("table", element("caption", caption), element("thead", element("tr", head)), element("tbody", *lines))
    return element("div", made, class_="wide", tabindex=0, role="region", aria_label=caption)


def _row(columns: Sequence[Column], row: Sequence[Child]) -> Html:
    first, *others = zip(columns, row, strict=True)
    cells = [element("th", first[1], scope="row", class_=_class(first[0])), *(element("td", cell, class_=_class(column)) for column, cell in others)]
    return element("tr", *cells)


def _class(column: Column) -> str | None:
    return "number" if column.number else "text" if column.wraps else None


def _text(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, int):
        return f"{child:,}"
    return child if isinstance(child, Html) else escape(child)
