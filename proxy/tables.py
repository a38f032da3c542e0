"""Fills dataclasses from nested tables such as TOML's, and tells every problem of theirs."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import field, fields, is_dataclass, replace
from typing import Any, get_args, get_origin, get_type_hints

Check = Callable[[Any], str | None]
"""Says what is wrong with a value, or None."""

_MASK = "********"
_URL = re.compile(r"://(.*@)?([^?]*)(\?[^'\"]+)?")


def setting(default: Any, check: Check | None = None, *, secret: bool = False) -> Any:
    """A field with a default and a check. One that is secret is shown to nobody."""
    return field(default=default, metadata={"check": check, "secret": secret})


def tables_of(kind: type, check_name: Check) -> Any:
    """A field of tables by their names, each of which fills a ``kind``."""
    return field(default_factory=dict, metadata={"kind": kind, "check": check_name})


def fill(section: Any, table: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    """``section`` with the values of ``table``; what does not fit is added to ``problems``.

    A field whose metadata has ``hidden`` is none of the table's.
    """
    known = {item.name: item for item in fields(section) if not item.metadata.get("hidden")}
    hints = get_type_hints(type(section))
    changes: dict[str, Any] = {}
    for name, value in table.items():
        full_name = prefix + name
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {prefix + close[0]}?" if close else ""
            problems.append(f"{full_name}: is no setting{hint}")
            continue
        current, metadata = getattr(section, name), known[name].metadata
        if not (is_dataclass(current) or "kind" in metadata):
            converted, problem = _convert(value, hints[name], metadata.get("check"))
            if problem:
                shown = _MASK if metadata.get("secret") else masked(repr(value))
                problems.append(f"{full_name}: {problem}, not {shown}")
            else:
                changes[name] = converted
        elif not isinstance(value, Mapping):
            problems.append(f"{full_name}: must be a table: [{full_name}]")
        elif "kind" in metadata:
            changes[name] = _tables(value, metadata, full_name, problems)
        else:
            changes[name] = fill(current, value, full_name + ".", problems)
    return replace(section, **changes)


def masked(text: str) -> str:
    """It as it is, but for what may be secret in a URL: user and password, and the query."""
    return _URL.sub(
        lambda found: (
            f"://{_MASK + '@' if found[1] else ''}{found[2]}{'?' + _MASK if found[3] else ''}"
        ),
        text,
    )


def to_table(value: Any) -> Any:
    """The nested tables that would fill ``value``."""
    if isinstance(value, Mapping):
        return {name: to_table(item) for name, item in value.items()}
    if is_dataclass(value):
        return {item.name: to_table(getattr(value, item.name)) for item in fields(value)}
    return value


def _tables(
    tables: Mapping[str, Any], metadata: Mapping[str, Any], prefix: str, problems: list[str]
) -> dict[str, Any]:
    filled: dict[str, Any] = {}
    for name, table in tables.items():
        full_name = f"{prefix}.{name}"
        if problem := metadata["check"](name):
            problems.append(f"{full_name}: {problem}")
        elif not isinstance(table, Mapping):
            problems.append(f"{full_name}: must be a table: [{full_name}]")
        else:
            filled[name] = fill(metadata["kind"](), table, full_name + ".", problems)
    return filled


_TYPE_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}


def _convert(value: Any, hint: Any, check: Check | None) -> tuple[Any, str | None]:
    """``value`` as a setting wants it, or what is wrong with it."""
    converted, problem = _as_type(value, hint)
    return converted, problem or (check(converted) if check else None)


def _as_type(value: Any, hint: Any) -> tuple[Any, str | None]:
    if get_origin(hint) is tuple:
        item_type = get_args(hint)[0]
        if isinstance(value, list) and all(type(item) is item_type for item in value):
            return tuple(value), None
        return None, f"must be a list, each item {_TYPE_NAMES[item_type]}"
    if hint is float and type(value) is int:
        return float(value), None
    if type(value) is hint:
        return value, None
    return None, f"must be {_TYPE_NAMES[hint]}"
