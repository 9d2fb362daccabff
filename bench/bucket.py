"""The bucket of the benchmark, used from inside a namespace: `python bench/bucket.py URL COMMAND BUCKET [ORIGIN]`.

`create` makes it, and lets pages of ORIGIN do what the compared clients need. `take` prints SHA-256 and key of its one
object, and empties it; `etags` prints key and ETag of each, and empties it as well.
"""

from __future__ import annotations

import hashlib
import sys
from typing import Any

from servers import ROOT

sys.path.insert(0, str(ROOT))

from tests.support.ceph_cluster import s3_client


def create(s3: Any, bucket: str, origin: str) -> None:
    s3.create_bucket(Bucket=bucket)
    rule = {
        "AllowedOrigins": [origin],
        "AllowedMethods": ["GET", "PUT", "POST", "DELETE"],
        "AllowedHeaders": ["*"],
        "ExposeHeaders": ["ETag", "Location"],
    }
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})


def take(s3: Any, bucket: str) -> None:
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]
    [file] = [key for key in keys if not key.endswith(".info")]  # tusd keeps its data about a file beside it
    digest = hashlib.sha256()
    for chunk in s3.get_object(Bucket=bucket, Key=file)["Body"].iter_chunks(1 << 20):
        digest.update(chunk)
    print(digest.hexdigest(), file)
    for key in keys:
        s3.delete_object(Bucket=bucket, Key=key)


def etags(s3: Any, bucket: str) -> None:
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for entry in page.get("Contents", []):
            print(entry["Key"], entry["ETag"].strip('"'))
            s3.delete_object(Bucket=bucket, Key=entry["Key"])


if __name__ == "__main__":
    url, command, *rest = sys.argv[1:]
    {"create": create, "take": take, "etags": etags}[command](s3_client(url), *rest)
