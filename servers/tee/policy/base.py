"""What all parts of a policy share: strict frozen models, decisions, and the one error of a bad document."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

T = TypeVar("T")


class BadPolicy(Exception):
    """The document is no policy, or not one of ours. `problems` are (where, what); the text is one line."""

    def __init__(self, *problems: tuple[str, str]) -> None:
        self.problems = problems
        where, what = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"{where}: {what}{more}")


class Part(BaseModel):
    """A part of the document: JSON members in camelCase and no others, values of exactly their type, never changed."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,  # in Python only; the reader of documents turns it off
        validate_by_alias=True,
    )


@dataclass(frozen=True, slots=True)
class Denied:
    """Why not: `code` for a log, `reason` for people."""

    code: str
    reason: str


def each_once(values: tuple[T, ...]) -> tuple[T, ...]:
    """The values, sorted. Raises `ValueError` where one is named twice: a policy has one spelling."""
    if len(set(values)) != len(values):
        raise ValueError("names something twice")
    return tuple(sorted(values, key=_order))


def some_once(values: tuple[T, ...]) -> tuple[T, ...]:
    """As `each_once`. Raises `ValueError` also where there are none, as that would undo the rule around it."""
    if not values:
        raise ValueError("is empty and would grant nothing; leave it out")
    return each_once(values)


def _order(value: object) -> tuple[int, str]:
    return (value, "") if isinstance(value, int) else (0, str(value))


def spelled(pattern: str, what: str) -> AfterValidator:
    """A validator for text of this form, whose refusal says what was meant."""
    form = re.compile(pattern)

    def check(text: str) -> str:
        if not form.fullmatch(text):
            raise ValueError(f"{text[:80]!a} is not {what}")
        return text

    return AfterValidator(check)


def unlike(values: Iterable[T]) -> list[T]:
    """The values without repetition, in order."""
    return list(dict.fromkeys(values))
