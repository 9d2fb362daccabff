"""All commands with their options, read from the parsers: what completion and the manual page are made of.

A command or option that a parser gets is in both without a further line.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from dataclasses import dataclass

from incoming.cli import check, database, doctor, send, uploads
from incoming.settings.command_line import option_parser
from incoming.settings.settings import KEYS

_WORDS = re.compile(r"[a-z]+(\|[a-z]+)+")
"""How the server's options name the words of which one is to be given."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option: all its names, what its value is called (empty if it has none), its choices, and its help."""

    names: tuple[str, ...]
    metavar: str
    choices: tuple[str, ...]
    about: str

    @property
    def takes_file(self) -> bool:
        """Whether its value is a path."""
        return self.metavar in ("FILE", "DIR", "PATH")


@dataclass(frozen=True, slots=True)
class Command:
    """One command by its words, such as `("uploads", "list")`; no words for the server itself."""

    words: tuple[str, ...]
    about: str
    options: tuple[Option, ...]
    arguments: tuple[str, ...] = ()
    """What its words are called that are no options."""


def commands() -> list[Command]:
    """Return all commands; those with commands of their own come before them."""
    found = list(_walk((), option_parser(KEYS)))
    for name, module in (
        *(("uploads", uploads), ("check", check), ("database", database)),
        *(("doctor", doctor), ("send", send)),
    ):
        found += _walk((name,), module.parser())
    return found


def _walk(words: tuple[str, ...], parser: argparse.ArgumentParser, about: str = "") -> Iterator[Command]:
    options, arguments, inner = [], [], []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {choice.dest: choice.help or "" for choice in action._choices_actions}
            inner += [(name, below, helps.get(name, "")) for name, below in action.choices.items()]
        elif action.option_strings:
            options.append(_option(action))
        else:
            arguments.append(_value_name(action) + " ..." * (action.nargs == argparse.ONE_OR_MORE))
    text = (about or parser.description or "").partition("\n\n")[0]
    yield Command(words, " ".join(text.split()), tuple(options), tuple(arguments))
    for name, below, text in inner:
        yield from _walk((*words, name), below, text)


def _option(action: argparse.Action) -> Option:
    words = str(action.metavar)
    choices = tuple(map(str, action.choices or (words.split("|") if _WORDS.fullmatch(words) else ())))
    plain = action.nargs == 0
    help_text = "" if action.help in (None, argparse.SUPPRESS) else str(action.help)
    return Option(
        tuple(action.option_strings), "" if plain else _value_name(action), choices, help_text.replace("%%", "%")
    )


def _value_name(action: argparse.Action) -> str:
    return action.metavar if isinstance(action.metavar, str) else action.dest.upper()
