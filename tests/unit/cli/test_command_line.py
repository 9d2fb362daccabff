"""What is wrong in a command line is said in one line with code 2, whichever command it is of."""

import re
from pathlib import Path

import pytest

from incoming.cli import main
from incoming.cli.command_tree import Command, commands

GROUPS = ("uploads", "check", "database")
BELOW = [one for one in commands() if one.words and one.words[-1] not in GROUPS]
OPTIONS = [(one, name) for one in BELOW for option in one.options for name in option.names if len(name) > 4]


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a command complains about these words, which are a usage error."""
    try:
        code = main.main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    said = capsys.readouterr()
    assert (code, said.out, said.err.count("\n")) == (2, "", 1), said
    return said.err


@pytest.mark.parametrize(("command", "name"), OPTIONS, ids=lambda value: str(value))
def test_an_abbreviated_option_is_refused_and_the_whole_one_named(
    command: Command, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, *command.words, name[:-1], "value")
    assert said.startswith(f"incoming {command.words[0]}")
    assert f"unrecognized arguments: {name[:-1]}" in said
    assert re.search(r"; did you mean --[\w-]+\?$", said), said


def test_an_unknown_option_is_named_rather_than_the_word_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    said = refused(capsys, "uploads", "--storage", "somewhere", "list")
    assert said == "incoming uploads: unrecognized arguments: --storage; did you mean --storage-dir?\n"


@pytest.mark.parametrize("group", GROUPS)
def test_the_configuration_may_be_named_before_the_command_and_behind_it(
    group: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word = {"uploads": "list", "check": "database", "database": "check"}[group]
    missing = str(tmp_path / "none.yaml")
    for words in ((group, "--config", missing, word), (group, word, "--config", missing)):
        assert refused(capsys, *words) == f"incoming {group}: {missing}: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("uploads", "list", "--sort", "sizee"), "order 'sizee' is unknown; did you mean 'size'?"),
        (("uploads", "list", "--state", "faild"), "did you mean failed?"),
        (("uploads", "list", "--limit", "x"), "'x' is not a number from 1"),
        (("uploads", "shw", "1"), "did you mean show?"),
        (("check", "proxy", "htps://x.example"), "did you mean https://x.example?"),
        (("check", "proxy", "https://x.example", "--ca-file", "none.pem"), "--ca-file none.pem: No such file"),
        (("check", "proxy", "https://x.example", "--ca-file", __file__), "there is no certificate in PEM in it"),
        (("check", "callback", "app.example/done"), "'app.example/done' cannot be used: it must be absolute"),
        (("check", "callback", "app.example/done"), "did you mean http://app.example/done?"),
        (("check", "callback", "http://x/", "--secret-file", "none"), "incoming check: none: No such file"),
        (("doctor", "--output", "/none/report"), "incoming doctor: /none/report: No such file or directory"),
        (("doctor", "--proxy", "localhost:4000"), "did you mean http://localhost:4000?"),
        (("database", "upgrad"), "did you mean upgrade?"),
        (("send", ".", "htp://x.example"), "did you mean http://x.example?"),
        (("completion", "bsh"), "did you mean bash?"),
    ],
)
def test_a_wrong_value_is_named_with_what_may_have_been_meant(
    words: tuple[str, ...],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert complaint in refused(capsys, *words)
