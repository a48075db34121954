"""Files in an S3 bucket, in single tries."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from anchor.shards.faults import AUTHORITY, ONCE, Fault, MissingFault, network_fault, range_of, status_fault
from anchor.shards.retries import Retries
from anchor.shards.stores import PARALLEL, FsspecStore, Reply, load_package, nothing, sizes_together

__all__ = ["S3Store"]

LONGEST_REASON = 200  # characters
_CREDENTIALS = "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, to one that may read it."


class S3Store(FsspecStore):
    """A folder in a bucket. Endpoint, region and credentials come from the environment, as for other S3 programs."""

    def __init__(self, url: str, retries: Retries) -> None:
        super().__init__(retries)
        self._bucket, _, prefix = url.partition("://")[2].partition("/")
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""

    def sizes(self, names: Sequence[str], deadline: float) -> dict[str, int | Fault | None]:
        """See ``Store``."""
        try:
            listed = self._run(self._list, deadline)
        except MissingFault:
            listed = {}
        except Fault as fault:
            if fault.tries != ONCE:
                raise
            # Who may read need not be allowed to list.
            return self._run(lambda: sizes_together(self._size, self._fault, names), deadline)
        return {name: listed.get(name) for name in names}

    def names(self, deadline: float) -> list[str] | None:
        """See ``Store``."""
        listed = self._run(self._list, deadline)
        if not listed:
            raise MissingFault("no file lies there", "Check the address, or upload the set.", ONCE)
        return sorted(listed)

    def _make_system(self) -> Any:
        fsspec = load_package("fsspec", "fsspec")
        load_package("s3fs", "virtual-anchor[s3]")
        system = fsspec.filesystem(
            "s3",
            config_kwargs={
                "connect_timeout": self._retries.connect_s,
                "read_timeout": self._retries.stall_s,
                "retries": {"total_max_attempts": 1, "mode": "standard"},  # tries are counted in one place
                "max_pool_connections": PARALLEL,
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        system.retries = 1
        return system

    def _network(self, error: Exception) -> Fault:
        return network_fault(error, self._retries.connect_s, self._retries.stall_s)

    async def _request(self, name: str, span: tuple[int, int] | None) -> Reply:
        extra = {"Range": f"bytes={span[0]}-{span[1] - 1}"} if span else {}
        try:
            reply = await self._system()._call_s3("get_object", Bucket=self._bucket, Key=self._prefix + name, **extra)
        except OSError as error:
            if span and _s3_status(error)[0] == 416:
                return Reply(0, span[0], nothing, lambda: None)
            raise
        start = range_of({"Content-Range": reply["ContentRange"]})[0] if "ContentRange" in reply else 0
        return Reply(reply.get("ContentLength"), start, reply["Body"].read, reply["Body"].close)

    async def _size(self, name: str) -> int | None:
        reply = await self._system()._call_s3("head_object", Bucket=self._bucket, Key=self._prefix + name)
        return int(reply["ContentLength"])

    async def _list(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        more: dict[str, str] = {}
        while True:
            page = await self._system()._call_s3(
                "list_objects_v2", Bucket=self._bucket, Prefix=self._prefix, Delimiter="/", **more
            )
            for entry in page.get("Contents", ()):
                sizes[entry["Key"][len(self._prefix) :]] = entry["Size"]
            if not page.get("IsTruncated"):
                sizes.pop("", None)  # the folder itself, as some programs write it
                return sizes
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _fault(self, error: Exception) -> Fault:
        import botocore.exceptions as boto

        status, code = _s3_status(error)
        if status:
            return status_fault(status, code)
        if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError)):
            return Fault(
                "there are no S3 credentials here", f"{_CREDENTIALS} A public bucket: FSSPEC_S3_ANON=true.", ONCE
            )
        if isinstance(error, (boto.ConnectTimeoutError, boto.ReadTimeoutError)):
            return self._network(asyncio.TimeoutError())
        if isinstance(error, boto.SSLError):
            return Fault("its certificate is not trusted", AUTHORITY.replace("SSL_CERT_FILE", "AWS_CA_BUNDLE"), ONCE)
        if isinstance(error, (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError)):
            return self._network(getattr(error, "kwargs", {}).get("error") or error)
        if isinstance(error, (boto.BotoCoreError, ValueError)):  # a bucket's name, a profile, a region that cannot be
            what = " ".join(str(error).split())[:LONGEST_REASON]
            return Fault(f"no request can be made ({what})", "Check the address and the AWS_ variables.", ONCE)
        return self._network(error)


def _s3_status(error: Exception) -> tuple[int, str]:
    """The HTTP status and the code in an error of S3; 0 where it has none."""
    source: Any = error if hasattr(error, "response") else error.__cause__
    response = getattr(source, "response", None)
    if not isinstance(response, dict):
        return 0, ""
    code = str(response.get("Error", {}).get("Code", ""))
    return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)), "" if code.isdecimal() else code
