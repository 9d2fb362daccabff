"""The one tree of errors: codes are stable, unique and documented."""

import pytest

from incoming.core import errors
from incoming.core.errors import TABLE, UploadError, copied


def test_codes_never_change() -> None:
    """Browsers switch on them, also with an old copy of the library."""
    assert {code: error.__name__ for code, error in TABLE.items()} == {
        100: "BadRequest",
        101: "BadParameter",
        102: "BadRange",
        103: "MessageTooLarge",
        104: "UnsupportedEncoding",
        105: "MethodNotAllowed",
        106: "NotFound",
        107: "FormRefused",
        108: "LengthRequired",
        109: "CallbackTestFailed",
        110: "OffsetMismatch",
        111: "UnsupportedVersion",
        112: "UnsupportedMediaType",
        113: "ChecksumMismatch",
        200: "UnknownTicket",
        201: "UnknownId",
        202: "WrongSecret",
        203: "Forbidden",
        204: "TakenOver",
        300: "WrongState",
        301: "AlreadyComplete",
        302: "UploadCancelled",
        303: "HandoverFailed",
        400: "FileChanged",
        401: "FileTooLarge",
        402: "FileTypeRefused",
        403: "DigestMismatch",
        500: "ServerShutdown",
        501: "StorageFull",
        502: "StorageFailed",
        503: "TooBusy",
        504: "TooSlow",
        599: "InternalError",
    }


@pytest.mark.parametrize("error", TABLE.values(), ids=lambda error: error.__name__)
def test_every_error_is_documented_and_consistent(error: type[UploadError]) -> None:
    assert error.__doc__
    assert 400 <= error.status <= 599
    assert error.retry == (error.code >= 500)
    assert error.retry_after is None or error.retry
    raised = error("the reason")
    assert (str(raised), raised.message) == ("the reason", "the reason")


def test_a_copy_has_everything_but_the_traceback() -> None:
    error = errors.StorageFailed("the disk is gone")
    error.note = "the instance's own"  # type: ignore[attr-defined]
    with pytest.raises(errors.StorageFailed):
        raise error
    other = copied(error)
    assert (type(other), other.message, vars(other)["note"]) == (type(error), "the disk is gone", "the instance's own")
    assert (error.__traceback__ is None, other.__traceback__) == (False, None)


def test_names_are_the_class_names() -> None:
    assert errors.StorageFull("x").name == "storage_full"
    assert errors.TooBusy("x").name == "too_busy"


def test_a_duplicate_code_is_refused() -> None:
    with pytest.raises(TypeError, match="code 100 is taken by BadRequest"):
        type("Another", (UploadError,), {"code": 100, "status": 400})
    assert TABLE[100] is errors.BadRequest
