"""A real S3 server for tests: moto's, by HTTP on this machine's loopback, found by AWS's own environment variables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

NAME = "corpus"


@contextmanager
def bucket() -> Iterator[str]:
    """Start a server with one empty bucket and yield the bucket's address; processes started meanwhile find it."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "tests",
            "AWS_SECRET_ACCESS_KEY": "tests",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }.items():
            patch.setenv(name, value)
        try:
            boto3.client("s3").create_bucket(Bucket=NAME)
            yield f"s3://{NAME}"
        finally:
            server.stop()
