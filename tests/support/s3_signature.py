"""AWS Signature Version 4 as a store checks it, written from the specification and not with the code under test."""

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote

MOST_SKEW = timedelta(minutes=15)
_CREDENTIAL = re.compile(r"(?P<access>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/s3/aws4_request")


class Refused(Exception):
    """`code` is S3's."""

    def __init__(self, code: str, status: int = 403) -> None:
        super().__init__(code)
        self.code = code
        self.status = status


class SignatureCheck:
    """Checks requests that are signed in their headers or in their URL. `now` is the store's clock."""

    def __init__(self, access_key: str, secret_key: str, now: Callable[[], datetime]) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._now = now

    def check(self, method: str, uri: str, headers: Mapping[str, str]) -> str:
        """Return the digest that the body must have, or what is in its place. `headers` ignores case."""
        path, _, query = uri.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        given = dict(pairs)
        if "X-Amz-Signature" in given:
            payload = "UNSIGNED-PAYLOAD"
            fields = {name: given[f"X-Amz-{name}"] for name in ("Credential", "SignedHeaders", "Signature", "Date")}
            self._check_age(fields["Date"], timedelta(seconds=int(given["X-Amz-Expires"])))
        elif (authorization := headers.get("Authorization", "")).startswith("AWS4-HMAC-SHA256 "):
            payload = headers.get("X-Amz-Content-Sha256", "")
            fields = dict(re.findall(r"(\w+)=([^,\s]+)", authorization))
            fields["Date"] = headers.get("X-Amz-Date", "")
            self._check_age(fields["Date"], None)
        else:
            raise Refused("AccessDenied")
        signed = fields["SignedHeaders"].split(";")
        if "host" not in signed:
            raise Refused("AccessDenied")
        lines = [
            method,
            path,
            "&".join(sorted(f"{_quoted(name)}={_quoted(value)}" for name, value in pairs if name != "X-Amz-Signature")),
            *(f"{name}:{' '.join(headers.get(name, '').split())}" for name in signed),
            "",
            fields["SignedHeaders"],
            payload,
        ]
        expected = self._signature(fields["Credential"], fields["Date"], "\n".join(lines))
        if not hmac.compare_digest(expected, fields["Signature"]):
            raise Refused("SignatureDoesNotMatch")
        return payload

    def _signature(self, credential: str, moment: str, canonical: str) -> str:
        scope = _CREDENTIAL.fullmatch(credential)
        if scope is None or scope["access"] != self._access_key:
            raise Refused("InvalidAccessKeyId")
        key = f"AWS4{self._secret_key}".encode()
        for text in (scope["day"], scope["region"], "s3", "aws4_request"):
            key = hmac.digest(key, text.encode(), "sha256")
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = f"AWS4-HMAC-SHA256\n{moment}\n{credential.partition('/')[2]}\n{digest}"
        return hmac.digest(key, text.encode(), "sha256").hex()

    def _check_age(self, moment: str, expires: timedelta | None) -> None:
        signed_at = datetime.strptime(moment, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        age = self._now() - signed_at
        if expires is not None and age > expires:
            raise Refused("AccessDenied")
        if age < -MOST_SKEW or (expires is None and age > MOST_SKEW):
            raise Refused("RequestTimeTooSkewed")


def _quoted(text: str) -> str:
    return quote(text, safe="-_.~")
