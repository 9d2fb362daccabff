"""Records of parts and parked ranges: what is written is what is read."""

import pytest

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.storage.s3.parts.place import Place
from incoming.storage.s3.parts.receipts import Receipt, no_longer_parked, parked_record, parse_receipts, part_record

PLACE = Place("bucket", "key", "upload", 10, False, "mark")


def test_receipts_are_read_as_they_were_written() -> None:
    records = [part_record(2, "abc", (10, 20)), parked_record((3, 7), "incoming/parked/t/3-7-x")]
    found = parse_receipts({one.name: one.value or "" for one in records} | {"another": "x"})
    assert found.parts == {2: Receipt("abc", 10)}
    assert found.parked == {(3, 7): "incoming/parked/t/3-7-x"}
    assert found.extents(PLACE, 15) == Extents([(3, 7), (10, 15)])


def test_a_parked_range_ends_with_the_receipt_of_its_part() -> None:
    removal = no_longer_parked((3, 7), (0, 10))
    assert (removal.name, removal.value, removal.within) == ("parked-3-7", None, (0, 10))
    assert removal.name == parked_record((3, 7), "key").name


@pytest.mark.parametrize("value", ["", "{}", "[1]", "{"])
def test_a_damaged_receipt_is_noticed(value: str) -> None:
    with pytest.raises(StorageFailed, match="receipt"):
        parse_receipts({"part-00001": value})
