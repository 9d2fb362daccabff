"""The bucket of an object store: what has to be set in it so that pages may send to it, and URLs to read from it."""

import base64
import hashlib
import logging
import urllib.parse

import botocore.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# Longer than the server keeps a paused upload (paused_timeout, 7 days): a shorter rule would lose what has arrived.
ABORT_AFTER_DAYS = 30

LINK_LIFETIME = 600  # seconds


class BucketProblem(Exception):
    """The bucket cannot be used; the text says why."""


class Bucket:
    """`endpoint` is None for AWS."""

    def __init__(self, name, endpoint, region, access_key, secret_key):
        self.name = name
        self.endpoint = endpoint.rstrip("/") if endpoint else None
        self.region = region
        self.access_key = access_key
        self.secret_key = secret_key
        # Not all stores know the checksums that botocore sends by itself.
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if endpoint else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        self._client = botocore.session.Session().create_client(
            "s3", endpoint_url=self.endpoint, region_name=region, config=config,
            aws_access_key_id=access_key, aws_secret_access_key=secret_key,
        )  # fmt: skip
        for operation in ("PutBucketCors", "PutBucketLifecycleConfiguration"):
            self._client.meta.events.register(f"before-sign.s3.{operation}", _add_md5)

    @property
    def origin(self):
        """Where browsers send parts to."""
        if not self.endpoint:
            return f"https://{self.name}.s3.{self.region}.amazonaws.com"
        parts = urllib.parse.urlsplit(self.endpoint)
        return f"{parts.scheme}://{parts.netloc}"

    def prepare(self, origins):
        """Create the bucket if it is missing, let pages of these origins PUT, and let the store forget old uploads.

        Rules that are there stay. Raises BucketProblem.
        """
        where = f"bucket {self.name!r} at {self.endpoint or 'AWS'}"
        try:
            self._create()
            self._allow(origins)
            self._abort_old_uploads()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            raise BucketProblem(f"{where}: {code}; check AWS_ACCESS_KEY, AWS_SECRET, BUCKET and REGION") from error
        except BotoCoreError as error:
            raise BucketProblem(f"{where}: {error}; check ENDPOINT") from error

    def signed_url(self, key, name):
        """Return a URL with which anybody can save the object under this name, for some minutes."""
        quoted = urllib.parse.quote(name, safe="")
        given = {"Bucket": self.name, "Key": key}
        given["ResponseContentDisposition"] = f"attachment; filename*=UTF-8''{quoted}"
        return self._client.generate_presigned_url("get_object", given, LINK_LIFETIME)

    def _create(self):
        try:
            self._client.head_bucket(Bucket=self.name)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            place = {} if self.region == "us-east-1" else {"LocationConstraint": self.region}
            self._client.create_bucket(Bucket=self.name, **({"CreateBucketConfiguration": place} if place else {}))
            logging.info("created the bucket %r", self.name)

    def _allow(self, origins):
        rules = self._known(self._client.get_bucket_cors, "CORSRules")
        ours = {"AllowedOrigins": origins, "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
        if not any(set(origins) <= set(rule["AllowedOrigins"]) and "PUT" in rule["AllowedMethods"] for rule in rules):
            self._client.put_bucket_cors(Bucket=self.name, CORSConfiguration={"CORSRules": [*rules, ours]})

    def _abort_old_uploads(self):
        rules = self._known(self._client.get_bucket_lifecycle_configuration, "Rules")
        abort = {"DaysAfterInitiation": ABORT_AFTER_DAYS}
        ours = {
            "ID": "incoming",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": abort,
        }
        if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
            given = {"Rules": [*rules, ours]}
            self._client.put_bucket_lifecycle_configuration(Bucket=self.name, LifecycleConfiguration=given)

    def _known(self, get, name):
        """Return the rules that are there; a store answers 404 if there are none."""
        try:
            return get(Bucket=self.name).get(name, [])
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return []


def _add_md5(request, **_):
    """S3 wants a digest of these requests, and Ceph no other than this one."""
    digest = hashlib.md5(request.data, usedforsecurity=False).digest()
    request.headers["Content-MD5"] = base64.b64encode(digest).decode()
