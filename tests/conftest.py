"""Settings of the whole suite, and an S3-compatible store; other fixtures come from `wharfd.testing`."""

import gc
import itertools
import os
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass

import pytest
from hypothesis import settings

from wharfd import PlaceSettings, Secret
from wharfd.testing.scratch import scratch

# The same examples in every run, and no deadline: a busy machine is no defect of what is tested.
settings.register_profile("wharfd", deadline=None, derandomize=True)
settings.load_profile("wharfd")


# What tests and their processes write goes where the databases are: no disk is tried here.
if memory := scratch():
    os.environ["TMPDIR"] = tempfile.tempdir = memory


def pytest_collection_modifyitems(items):
    """The long tests first: then no worker is left alone with one at the end."""
    items.sort(key=lambda item: not any(map(item.get_closest_marker, ("slow", "system"))))


def pytest_collection_finish():
    """Thousands of tests and all modules stay: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


_SERVE = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class S3Bucket:
    """An empty bucket of a real S3-compatible server (moto) on loopback; it checks no credentials."""

    endpoint: str
    bucket: str

    @property
    def place(self) -> PlaceSettings:
        """What a plugin's settings hold for it."""
        return PlaceSettings(
            bucket=self.bucket, endpoint=self.endpoint, prefix="shop",
            access_key_id=Secret("an-id"), secret_access_key=Secret("a-secret"),
        )  # fmt: skip

    @property
    def toml(self) -> str:
        """The same, as an inline table of TOML."""
        return (
            f'{{ bucket = "{self.bucket}", endpoint = "{self.endpoint}", prefix = "shop", '
            'access_key_id = "an-id", secret_access_key = "a-secret" }'
        )


@pytest.fixture(scope="session")
def s3_server():
    """The URL of the store, started by the first test that wants it."""
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        yield f"http://127.0.0.1:{server.stdout.readline().strip()}"
        server.stdin.close()  # it ends, as it does when this process is killed


@pytest.fixture
def s3(s3_server):
    """A new bucket for each test."""
    bucket = S3Bucket(s3_server, f"bucket-{next(_NUMBERS)}")
    with urllib.request.urlopen(urllib.request.Request(f"{s3_server}/{bucket.bucket}", method="PUT")):
        return bucket
