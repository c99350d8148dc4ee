"""Checks a JSON value against a type, strictly: an unknown field is a fault.

For the request types of vendors' SDKs, which are ``TypedDict``: pydantic accepts unknown fields in them, and reads a
list lazily if the type is ``Iterable``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

from typing_extensions import ReadOnly, TypeAliasType, is_typeddict

_LISTS: Final = (list, tuple, Iterable, Sequence)
_TAGS: Final = ("type", "role")  # fields that distinguish the members of a union


def find_faults(value: Any, type_: Any, place: str = "") -> list[str]:
    """Returns the faults, each with its place; none if ``value`` matches the type."""
    return [*_faults(value, type_, place)]


def _faults(value: Any, type_: Any, place: str) -> Iterator[str]:
    if isinstance(type_, TypeAliasType):
        type_ = type_.__value__
    origin, arguments = get_origin(type_), get_args(type_)
    if type_ in (Any, object):
        return
    if origin in (Annotated, Required, NotRequired, ReadOnly):
        yield from _faults(value, arguments[0], place)
    elif origin in (Union, UnionType):
        yield from _union(value, arguments, place)
    elif origin is Literal:
        if value not in arguments:
            yield f"{place}: {value!r} is not one of {arguments}"
    elif is_typeddict(type_):
        yield from _typed_dict(value, type_, place)
    elif origin in (dict, Mapping) or type_ is dict:
        if not isinstance(value, dict):
            yield f"{place}: {value!r} is not an object"
            return
        for name, one in value.items():
            yield from _faults(one, arguments[1] if arguments else Any, f"{place}.{name}")
    elif origin in _LISTS or getattr(origin, "__name__", "") == "SequenceNotStr":
        if not isinstance(value, list):
            yield f"{place}: {value!r} is not a list"
            return
        for n, one in enumerate(value):
            yield from _faults(one, arguments[0], f"{place}[{n}]")
    else:
        yield from _plain(value, type_, place)


def _plain(value: Any, type_: Any, place: str) -> Iterator[str]:
    """Checks a plain class. No value matches one that is not JSON (a file, a response class)."""
    kinds: dict[Any, Any] = {NoneType: NoneType, str: str, bool: bool, int: int, float: (int, float)}
    fits = isinstance(value, kinds.get(type_, ())) and (type_ is bool or not isinstance(value, bool))
    if not fits:
        yield f"{place}: {value!r} is not {getattr(type_, '__name__', type_)}"


@cache
def _required(type_: Any) -> frozenset[str]:
    """Returns the required fields. ``TypedDict`` misses ``Required`` and ``NotRequired`` in string annotations."""
    written = {name: get_origin(hint) for name, hint in _hints(type_).items()}
    always = {name for name, origin in written.items() if origin is Required}
    return frozenset(always | {name for name in type_.__required_keys__ if written[name] is not NotRequired})


@cache
def _hints(type_: Any) -> dict[str, Any]:
    return get_type_hints(type_, include_extras=True)


def _typed_dict(value: Any, type_: Any, place: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{place}: {value!r} is not an object"
        return
    hints = _hints(type_)
    for name in sorted(_required(type_) - value.keys()):
        yield f"{place}.{name}: is missing"
    for name, one in value.items():
        if name not in hints:
            yield f"{place}.{name}: is not a field of {type_.__name__}"
        else:
            yield from _faults(one, hints[name], f"{place}.{name}")


def _union(value: Any, members: Sequence[Any], place: str) -> Iterator[str]:
    """Returns the faults under the closest member: of the same type, with matching tags, then with the fewest faults."""
    found = [(find_faults(value, member, place), member) for member in members]
    if all(wrong for wrong, _ in found):
        yield from min(found, key=lambda one: _distance(value, one[0], one[1], place))[0]


def _distance(value: Any, wrong: Sequence[str], type_: Any, place: str) -> tuple[bool, bool, int]:
    other_kind = any(fault.startswith(f"{place}: ") for fault in wrong)
    return other_kind, not _tags_fit(value, type_), len(wrong)


def _tags_fit(value: Any, type_: Any) -> bool:
    if not isinstance(value, dict) or not is_typeddict(type_):
        return False
    hints = _hints(type_)
    return all(name not in hints or not find_faults(value.get(name), hints[name]) for name in _TAGS if name in value)
