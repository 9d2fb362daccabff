"""What new_upload says of the file."""

import json

import pytest

from incoming.core.errors import BadParameter
from incoming.core.ticket import Identity, TicketOptions
from incoming.handlers.backend.file_identity import file_identity
from incoming.wire.upload_metadata import as_object

URL = "http://app.example.org/done"


def read(options: TicketOptions | None = None, server_max_size: int = 0, /, **given: str) -> Identity:
    return file_identity(given, options or TicketOptions(URL), server_max_size)


def refusal(options: TicketOptions | None = None, server_max_size: int = 0, /, **given: str) -> str:
    with pytest.raises(BadParameter) as caught:
        read(options, server_max_size, **given)
    return caught.value.message


def test_every_field_is_optional() -> None:
    assert read() == Identity()


def test_every_field_is_taken() -> None:
    given = read(fileSize="0", fileName="a.txt", mediaType="text/plain", metadata='{"folder": "größe"}')
    assert (given.size, given.name, given.media_type) == (0, "a.txt", "text/plain")
    assert as_object(given.metadata) == {"folder": "größe"}


def test_name_and_type_may_be_among_the_metadata_of_the_client() -> None:
    metadata = {"filename": "a.txt", "filetype": "text/plain", "folder": "7"}
    given = read(metadata=json.dumps(metadata))
    assert (given.name, given.media_type, as_object(given.metadata)) == ("a.txt", "text/plain", metadata)
    given = read(metadata=json.dumps(metadata), fileName="b.txt", mediaType="x/y")
    assert (given.name, given.media_type) == ("b.txt", "x/y")


@pytest.mark.parametrize("text", ["-1", "1.5", "1MiB", "9007199254740992", "1" * 17, "\u0661", " 1"])
def test_a_size_is_a_number_of_bytes(text: str) -> None:
    assert refusal(fileSize=text) == "fileSize invalid: it is not a number of bytes from 0 to 9007199254740991"


def test_a_size_above_a_limit_is_refused_at_once() -> None:
    limited = TicketOptions(URL, max_size=10)
    assert read(limited, 10, fileSize="10").size == 10
    assert refusal(limited, fileSize="11") == "fileSize invalid: 11 bytes are above maxSize, which is 10"
    assert refusal(None, 7, fileSize="8") == "fileSize invalid: 8 bytes are above the server's max_size, which is 7"


def test_names_and_types_have_a_limit() -> None:
    assert refusal(fileName="a" * 1025) == "fileName invalid: it has 1025 characters, the limit is 1024"
    assert refusal(mediaType="a" * 256) == "mediaType invalid: it has 256 characters, the limit is 255"


def test_a_file_that_the_ticket_does_not_allow_is_refused_once_name_and_type_are_known() -> None:
    wanted = TicketOptions(URL, allowed_types=(".pdf", "image/*"))
    assert read(wanted, fileName="a.pdf", mediaType="text/plain")
    assert read(wanted, fileName="a", mediaType="image/png")
    assert read(wanted, fileName="a.txt").name == "a.txt"
    assert "none of .pdf, image/* matches" in refusal(wanted, fileName="a.txt", mediaType="text/plain")


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ("{", "metadata invalid: it is not valid JSON"),
        ("[]", "metadata invalid: it is not a JSON object of strings"),
        ('{"a": 1}', "metadata invalid: it is not a JSON object of strings"),
        ('{"a b": "c"}', "metadata invalid: the key 'a b' is not printable ASCII"),
        (
            json.dumps({"a": "x" * 4096}),
            "metadata invalid: the metadata has 4097 bytes besides name and",
        ),
        (json.dumps({str(number): "" for number in range(33)}), "metadata invalid: the metadata has 33 keys"),
    ],
)
def test_bad_metadata_is_refused(metadata: str, words: str) -> None:
    assert refusal(metadata=metadata).startswith(words)
