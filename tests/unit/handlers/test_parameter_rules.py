"""A parameter that was given counts, whatever its language made of it; unknown ones are told."""

import pytest

from incoming.core.errors import BadParameter
from incoming.handlers.backend.parameter_rules import ABOUT_UPLOAD, NEW_UPLOAD, Rules, checked, warnings
from incoming.handlers.backend.parameters import Value

EVERY = [(name, rules) for rules in (NEW_UPLOAD, ABOUT_UPLOAD) for name in rules]
SECRETS = ("backendSecret", "signalFinishSecret", "secret")


def refusal(name: str, value: Value, rules: Rules) -> str:
    with pytest.raises(BadParameter) as caught:
        checked({name: value}, rules)
    assert caught.value.message.startswith(f"{name} invalid: it is ")
    return caught.value.message


@pytest.mark.parametrize(("name", "rules"), EVERY)
def test_null_is_refused_for_every_parameter(name: str, rules: Rules) -> None:
    refusal(name, None, rules)


@pytest.mark.parametrize(("name", "rules"), EVERY)
def test_empty_is_refused_for_every_parameter_but_the_secrets(name: str, rules: Rules) -> None:
    if name in SECRETS:
        assert checked({name: ""}, rules) == {name: ""}
    else:
        refusal(name, "", rules)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("removeFileWhenFinished", False, "false"),
        ("removeFileWhenFinished", True, "true"),
        ("removeFileWhenFinished", 0, "0"),
        ("removeFileWhenFinished", "False", "False"),
        ("maxSize", 7, "7"),
        ("maxSize", 0, "0"),
        ("allowedTypes", [".a", ".b"], ".a,.b"),
        ("backendSecret", 12345, "12345"),
        ("backendSecret", " ", " "),
    ],
)
def test_json_types_that_can_mean_only_one_thing_are_taken(name: str, value: Value, text: str) -> None:
    assert checked({name: value}, NEW_UPLOAD) == {name: text}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("backendSecret", False, "false, not a string"),
        ("backendSecret", ["a", "b"], "a list, not a string"),
        ("signalFinishURL", True, "true, not a string"),
        ("destType", 1, "a number, not a string"),
        ("maxSize", False, "false, not a string or an integer"),
        ("maxRate", ["1"], "a list, not a string or an integer"),
        ("allowedTypes", [], "empty"),
        ("allowedTypes", False, "false, not a string or a list"),
        ("allowedOrigins", 0, "a number, not a string or a list"),
        ("testCallback", [], "a list, not true or false"),
    ],
)
def test_json_types_that_make_no_sense_are_refused(name: str, value: Value, words: str) -> None:
    assert words in refusal(name, value, NEW_UPLOAD)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("signalfinishurl", "signalFinishURL"),
        ("signal_finish_url", "signalFinishURL"),
        ("removeFileAfterFinished", "removeFileWhenFinished"),
        ("max_size", "maxSize"),
        ("allowedType", "allowedTypes"),
        ("backend-secret", "backendSecret"),
    ],
)
def test_a_misspelt_parameter_is_reported_with_a_suggestion(name: str, meant: str) -> None:
    assert warnings({name: "x"}, NEW_UPLOAD) == [f'unknown parameter "{name}"; did you mean "{meant}"?']


def test_known_parameters_are_no_warning() -> None:
    for rules in (NEW_UPLOAD, ABOUT_UPLOAD):
        assert warnings(dict.fromkeys(rules, "x"), rules) == []
    assert warnings({"id": "x", "backendSecret": ""}, ABOUT_UPLOAD) == []


@pytest.mark.parametrize("value", ["", "undefined", "null", "None", "False", "NaN"])
def test_an_empty_secret_is_a_warning_for_new_upload(value: str) -> None:
    [warning] = warnings({"backendSecret": value}, NEW_UPLOAD)
    assert warning.startswith("backendSecret is ")


def test_warnings_are_few_short_and_printable() -> None:
    found = warnings({f'{number}\r\n\N{SNOWMAN}"' + "x" * 1000: "y" for number in range(100)}, NEW_UPLOAD)
    assert len(found) == 6
    assert found[-1] == "95 more unknown parameters"
    for warning in found:
        assert warning.isascii()
        assert warning.isprintable()
        assert len(warning) < 120
