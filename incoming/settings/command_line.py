"""The server's options on the command line: their spelling, and the order in which --help explains them.

Decides the groups of the help. settings.py decides which keys there are, and what they mean.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

import incoming
from incoming.settings.value_types import ValueType

USAGE = """%(prog)s [serve] [options]
       %(prog)s uploads list|watch|show|cancel|retry ...
       %(prog)s check config|storage|store|proxy|callback ...
       %(prog)s doctor ...
       %(prog)s send FILE URL ..."""

COMMANDS = """commands:
  serve                 run the server; the default command
  uploads               list, show, cancel and retry uploads; see incoming uploads --help
  check config          look for mistakes in the configuration; see incoming check --help
  check storage         try the storage directory
  check store NAME      try an object store
  check proxy URL       try what is in front of the server
  check callback URL    try an app's callback
  doctor                run all checks, and write a report to send to those who help
  send FILE URL         send files to an application; see incoming send --help
  completion SHELL      print the completion for bash, zsh or fish
  manual                print the manual page

"""

EPILOG = (
    "Each option is also a key of the YAML file (some_key) and an environment variable (INCOMING_SOME_KEY); "
    "the command line overrides the environment, the environment the file. See doc/configuration.md."
)

GROUPS: Mapping[str, tuple[str, ...]] = {
    "the program": (
        *("address", "port", "storage_dir", "database", "database_direct", "instance"),
        *("workers", "log_level", "log_format"),
    ),
    "who may call": ("backend_networks", "backend_token", "trusted_proxies", "allowed_origins"),
    "how clients send": (
        *("chunk_min", "chunk_max", "window", "memory", "connections_per_upload", "connections_per_client"),
        *(
            "max_strangers",
            "minimum_rate",
            "max_header",
            "public_url",
            "frontend_hosts",
            "interim_answers",
            "max_append_size",
            "ping_interval",
            "dead_after",
            "hello_timeout",
        ),
    ),
    "what is kept, and how long": (
        *(
            "max_size",
            "storage_quota",
            "max_tickets",
            "limit_counting",
            "idle_timeout",
            "paused_timeout",
            "tombstone_time",
        ),
        *("failed_grace", "low_space", "file_mode", "dir_mode", "durability", "checkpoint_bytes", "checkpoint_seconds"),
    ),
    "object stores": ("object_stores", "dest_types", "spool_size", "park_after"),
    "handing over to the app": (
        *("handover_timeout", "handover_retry_time", "handover_refusal_time", "handover_max_backoff"),
        *("handover_wait_timeout", "handover_connections", "callback_hosts", "callback_networks", "callback_ca_file"),
        "finish_requires_secret",
    ),
    "the end": ("drain_timeout",),
}
"""The sections of doc/configuration.md. A key that is missing here comes last, without a heading."""


class ConfigError(Exception):
    """The configuration cannot be used; the message is one line for the operator."""


_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


def with_hint(parser: argparse.ArgumentParser, message: str) -> str:
    """Return what argparse says is wrong, with the option or the choice that may have been meant."""
    unknown = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
    known = list(options_of(parser))
    if choice := _CHOICE.search(message):
        unknown, known = [choice[1]], re.findall(r"[\w-]+", choice[2])
    close = [found for word in unknown for found in difflib.get_close_matches(word.partition("=")[0], known, n=1)]
    return f"{message}; did you mean {close[0]}?" if close else f"{message}; --help lists all options"


def options_of(parser: argparse.ArgumentParser) -> Iterator[str]:
    """Yield the options of a parser and of its commands, whose unknown ones the parser itself reports."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from options_of(command)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(with_hint(self, message))


def option_parser(keys: Mapping[str, Mapping[str, Any]]) -> argparse.ArgumentParser:
    """Return the parser of the server's options. Its errors are ConfigErrors."""
    parser = _Parser(
        prog="incoming",
        usage=USAGE,
        description=f"{incoming.__doc__ or ''}\n\n{COMMANDS}",
        formatter_class=_Formatter,
        allow_abbrev=False,
        epilog=EPILOG,
    )
    parser.add_argument("--version", action="version", version=f"incoming {incoming.__version__}")
    parser.add_argument("--config", metavar="FILE", help="YAML file to read (default: none)")
    grouped = [name for names in GROUPS.values() for name in names]
    others = tuple(name for name in keys if name not in grouped)
    for title, names in (*GROUPS.items(), ("others", others)):
        group = parser.add_argument_group(title)
        for name in names:
            _add(group, name, keys[name])
    return parser


class _Formatter(argparse.HelpFormatter):
    """Keep the lines of description and usage; wrap everything else."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return super()._fill_text(text, width, indent) if "\n" not in text else text


def _add(group: argparse._ArgumentGroup, name: str, about: Mapping[str, Any]) -> None:
    form: ValueType[Any] = about["form"]
    text = f"{about['about']} (default: {about['default'] or 'empty'})".replace("%", "%%")
    more: dict[str, Any] = {"nargs": "?", "const": "true"} if form.is_flag else {}
    group.add_argument(option(name), dest=name, metavar=form.metavar, help=text, **more)


def option(name: str) -> str:
    """Return a key's spelling on the command line."""
    return "--" + name.replace("_", "-")
