"""The smaller limit counts, and 0 is none."""

import pytest

from incoming.core.errors import FileTooLarge
from incoming.core.size_limit import check_size


@pytest.mark.parametrize("limits", [(), (0,), (0, 0), (100,), (100, 0), (0, 100), (100, 1000)])
def test_a_file_of_the_limit_is_accepted(limits: tuple[int, ...]) -> None:
    check_size(100, *limits)


@pytest.mark.parametrize("limits", [(99,), (0, 99), (99, 0), (1000, 99), (99, 1000)])
def test_a_file_above_the_limit_is_refused(limits: tuple[int, ...]) -> None:
    with pytest.raises(FileTooLarge, match=r"^the file has 100 bytes, the limit is 99$"):
        check_size(100, *limits)
    with pytest.raises(FileTooLarge, match=r"^the file has at least 100 bytes, the limit is 99$"):
        check_size(100, *limits, at_least=True)
