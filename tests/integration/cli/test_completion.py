"""Completion and manual page have every command and option, and shells and man(1) accept them."""

import subprocess

import pytest

from incoming.cli import main
from incoming.cli.command_tree import Command, commands
from incoming.cli.completion import manual
from incoming.settings.command_line import option
from incoming.settings.settings import KEYS
from tests.support.tools import require_tool


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main.main(words) == 0
    return capsys.readouterr().out


def complete(script: str, *words: str) -> set[str]:
    """What bash offers for the last word."""
    given = " ".join(f"'{word}'" for word in words)
    call = f"COMP_WORDS=({given}); COMP_CWORD={len(words) - 1}; _incoming"
    program = f"{script}\n{call}; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    done = subprocess.run(
        [require_tool("bash"), "--norc", "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def test_every_command_and_option_is_known() -> None:
    found = {one.words: one for one in commands()}
    assert {words[0] for words in found if words} == set(main.COMMANDS) - {"serve", "completion", "manual"}
    names = {name for each in found[()].options for name in each.names}
    assert {option(key) for key in KEYS} <= names
    assert {("uploads", "watch"), ("check", "proxy"), ("send",)} <= set(found)


def test_bash_completes_commands_options_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, "completion", "bash")
    assert {"uploads", "send", "--storage-dir"} <= complete(script, "incoming", "")
    assert complete(script, "incoming", "uploads", "wa") == {"watch"}
    assert complete(script, "incoming", "uploads", "--storage-dir", "x", "list", "--sta") == {"--state"}
    assert {"failed", "finished"} <= complete(script, "incoming", "uploads", "list", "--state", "f")
    assert complete(script, "incoming", "send", "--progress", "") == {"bar", "plain", "json", "none"}
    assert complete(script, "incoming", "--port", "4") == set()
    assert complete(script, "incoming", "--durability", "") == {"process", "power"}


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_scripts_parse(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    script = printed(capsys, "completion", shell)
    subprocess.run([require_tool("bash"), "-n"], input=script, text=True, check=True, timeout=60)


def test_fish_gets_every_option_with_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, "completion", "fish").splitlines()
    assert all(line.startswith("complete -c incoming ") for line in lines)
    for one in commands():
        for each in one.options:
            for name in each.names:
                assert any(f" -l {name[2:]} " in line or f" -s {name[1:]} " in line for line in lines), name
    assert any("-a watch" in line and "__fish_seen_subcommand_from uploads" in line for line in lines)


def test_the_manual_page_is_accepted_and_has_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "manual")
    done = subprocess.run(
        [require_tool("man"), "--warnings=all", "-Tutf8", "-l", "-"],
        input=page,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stderr == ""
    assert "commands:" not in page, "the list of commands is the synopsis"
    for one in commands():
        for each in one.options:
            assert all(name.replace("-", "\\-") in page for name in each.names)


def test_help_cannot_break_out_of_the_page() -> None:
    wicked = Command((), ".so /etc/passwd", ())
    lines = list(manual([wicked]))
    assert "\\&.so /etc/passwd" in lines


def test_an_unknown_shell_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["completion", "csh"])
    assert ended.value.code == 2
    assert "csh" in capsys.readouterr().err
