"""The properties of object stores: defaults, and one line for what is wrong."""

import re

import pytest

from incoming.settings.object_stores import ObjectStore, parse_object_stores


def only(text: str) -> ObjectStore:
    [store] = parse_object_stores(text)
    return store


def test_a_bucket_is_enough() -> None:
    store = only("{s3: {bucket: uploads, region: eu-central-1}}")
    assert (store.name, store.bucket, store.prefix, store.part_size) == ("s3", "uploads", "incoming/", 8 * 1024**2)
    assert store.url == "https://s3.eu-central-1.amazonaws.com"
    assert not store.is_path_style
    assert not store.direct


def test_an_endpoint_of_ones_own_has_the_bucket_in_its_path() -> None:
    assert only("{a: {bucket: uploads, endpoint: 'http://rgw:7480/'}}").is_path_style
    assert only("{a: {bucket: uploads, endpoint: 'http://rgw:7480/'}}").url == "http://rgw:7480"
    assert not only("{a: {bucket: uploads, endpoint: 'http://rgw', addressing: virtual}}").is_path_style


def test_several_stores_keep_their_order() -> None:
    stores = parse_object_stores('{"b": {"bucket": "bbb"}, "a": {"bucket": "aaa", "direct": "yes", "prefix": "a/b/"}}')
    assert [(store.name, store.direct, store.prefix) for store in stores] == [
        ("b", False, "incoming/"),
        ("a", True, "a/b/"),
    ]


def test_secrets_are_not_shown() -> None:
    store = only("{s3: {bucket: uploads, access_key: anna, secret_key: hidden-word}}")
    assert store.secret_key == "hidden-word"
    assert "hidden-word" not in repr(store)
    assert "anna" not in repr(store)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[s3]", "not a mapping"),
        ("{s3: ", "not a mapping in YAML or JSON"),
        ("{file: {bucket: uploads}}", "'file' cannot be a store's name"),
        ("{S3: {bucket: uploads}}", "'S3' cannot be a store's name"),
        ("{s3: uploads}", "s3 has no properties; it needs at least a bucket"),
        ("{s3: {region: x}}", "s3 has no bucket"),
        ("{s3: {bucket: Up}}", "s3.bucket: 'Up' is not a bucket's name"),
        ("{s3: {bucket: uploads, perfix: a/}}", "s3: property 'perfix' is unknown; did you mean 'prefix'?"),
        ("{s3: {bucket: uploads, xyzzy: a}}", "s3: property 'xyzzy' is unknown"),
        ("{s3: {bucket: uploads, prefix: a}}", "s3.prefix: 'a' is not one or more path components that each end with"),
        ("{s3: {bucket: uploads, prefix: ''}}", "s3.prefix: '' is not one or more path components"),
        ("{s3: {bucket: uploads, prefix: a/../}}", "s3.prefix: 'a/../' is not"),
        ("{s3: {bucket: uploads, endpoint: ceph}}", "s3.endpoint: 'ceph' is not a URL without query"),
        ("{s3: {bucket: uploads, part_size: 4095}}", "s3.part_size: '4095' is not a size from 4KiB"),
        ("{s3: {bucket: uploads, key_pattern: '('}}", "s3.key_pattern: '(' is not a regular expression"),
        ("{s3: {bucket: uploads, url_lifetime: 8d}}", "s3.url_lifetime: '8d' is not a duration from 1s to 7d"),
        ("{s3: {bucket: uploads, direct: [yes]}}", "s3.direct: ['yes'] is not true or false"),
        ("{s3: {bucket: uploads, access_key: anna}}", "s3: access_key and secret_key need each other"),
        ("{s3: {bucket: uploads, secret_key: 'hidden word'}}", "s3.secret_key: its value is not a secret key"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_object_stores(text)
