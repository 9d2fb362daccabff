"""`incoming completion bash|zsh|fish` and `incoming manual`: print what a shell and man(1) read.

Decides the forms; what is in them is in command_tree.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

import incoming
from incoming.cli.command_tree import Command, Option, commands
from incoming.cli.terminal import CommandParser, say

COMMAND = "incoming completion"
SHELLS = ("bash", "zsh", "fish")
ABOUT = "Print the completion for a shell: source <(incoming completion bash)"


def run(arguments: Sequence[str]) -> int:
    """Print the completion for a shell and return the exit code. SystemExit(2) for a usage error."""
    parser = CommandParser(prog=COMMAND, description=ABOUT)
    parser.add_argument("shell", choices=SHELLS)
    for line in {"bash": _bash, "zsh": _zsh, "fish": _fish}[parser.parse_args(arguments).shell](commands()):
        say(line)
    return 0


def run_manual(arguments: Sequence[str]) -> int:
    """Print the manual page and return the exit code. SystemExit(2) for a usage error."""
    CommandParser(prog="incoming manual", description="Print the manual page: incoming manual | man -l -").parse_args(
        arguments
    )
    for line in manual(commands()):
        say(line)
    return 0


def _below(found: Sequence[Command], words: tuple[str, ...]) -> list[str]:
    """Return the commands that may follow these words."""
    return [one.words[-1] for one in found if len(one.words) == len(words) + 1 and one.words[:-1] == words]


def _bash(found: Sequence[Command]) -> Iterator[str]:
    yield "_incoming() {"
    yield '    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} path="" next i'
    yield "    COMPREPLY=()"
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield '        next="$path${path:+ }${COMP_WORDS[i]}"'
    yield '        case "$next" in'
    yield f"            {'|'.join(shlex.quote(' '.join(one.words)) for one in found if one.words)}) path=$next ;;"
    yield "        esac"
    yield "    done"
    yield '    case "$path $before" in'
    for one in found:
        for option in (option for option in one.options if option.metavar):
            patterns = "|".join(shlex.quote(f"{' '.join(one.words)} {name}") for name in option.names)
            if option.choices:
                choices = " ".join(option.choices)
                yield f'        {patterns}) COMPREPLY=($(compgen -W "{choices}" -- "$word")); return ;;'
            elif option.takes_file:
                yield f'        {patterns}) COMPREPLY=($(compgen -f -- "$word")); return ;;'
            else:
                yield f"        {patterns}) return ;;"
    yield "    esac"
    yield '    case "$path" in'
    for one in found:
        names = [name for option in one.options for name in option.names if name.startswith("--")]
        words = " ".join([*_below(found, one.words), *names])
        yield f'        {shlex.quote(" ".join(one.words))}) COMPREPLY=($(compgen -W "{words}" -- "$word")) ;;'
    yield "    esac"
    yield '    [ ${#COMPREPLY[@]} -gt 0 ] || [ "${word:0:1}" = - ] || COMPREPLY=($(compgen -f -- "$word"))'
    yield "}"
    yield "complete -o filenames -F _incoming incoming"


def _zsh(found: Sequence[Command]) -> Iterator[str]:
    """Return Bash's script, which zsh can load."""
    yield "autoload -U +X compinit && compinit -i"
    yield "autoload -U +X bashcompinit && bashcompinit"
    yield from _bash(found)


def _fish(found: Sequence[Command]) -> Iterator[str]:
    for one in found:
        below = _below(found, one.words)
        seen = [f"__fish_seen_subcommand_from {word}" for word in one.words]
        none = [f"not __fish_seen_subcommand_from {' '.join(below)}"] if below else []
        condition = shlex.quote("; and ".join([*seen, *none]) or "true")
        for word in below:
            [inner] = [other for other in found if other.words == (*one.words, word)]
            yield f"complete -c incoming -f -n {condition} -a {word} -d {_fish_text(inner.about)}"
        for option in one.options:
            yield f"complete -c incoming -n {condition} {_fish_option(option)} -d {_fish_text(option.about)}"


def _fish_option(option: Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    if option.choices:
        names.append(f"-x -a {shlex.quote(' '.join(option.choices))}")
    elif option.metavar:
        names.append("-r" if option.takes_file else "-x")
    return " ".join(names)


def _fish_text(text: str) -> str:
    """Quote for fish, in whose single quotes a backslash quotes itself and the quote."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# --- the manual page --------------------------------------------------------------------------------------------------


def manual(found: Sequence[Command]) -> Iterator[str]:
    """Yield the lines of incoming(1), in the macros of man(7)."""
    yield f'.TH INCOMING 1 "" "Incoming!! {incoming.__version__}" "User Commands"'
    yield ".SH NAME"
    yield "incoming \\- take large files from browsers, and hand them over to web applications"
    yield ".SH SYNOPSIS"
    for one in found:
        if not _below(found, one.words) or not one.words:
            yield f".B incoming {_roff(' '.join(one.words))}"
            yield ".RI [ options ]"
            for argument in one.arguments:
                yield f".I {_roff(argument)}"
            yield ".br"
    for one in found:
        yield f".SH {_roff(' '.join(('incoming', *one.words)).upper())}"
        yield _roff(one.about)
        for option in one.options:
            value = f" \\fI{_roff(option.metavar)}\\fR" if option.metavar else ""
            yield ".TP"
            yield ", ".join(f"\\fB{_roff(name)}\\fR" for name in option.names) + value
            yield _roff(" ".join(option.about.split()))
            if option.choices:
                yield _roff(f"One of {', '.join(option.choices)}.")
    yield ".SH EXIT STATUS"
    yield "0 success, 1 the operation failed, 2 usage error."
    yield "incoming send: 3 come again, 4 refused, 5 the file changed."


def _roff(text: str) -> str:
    """Quote text for man(7): no character of it is a request or an escape."""
    quoted = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{quoted}" if quoted[:1] in (".", "'") else quoted
