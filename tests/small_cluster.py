"""A cluster of two workers on loopback, for tests of what runs on one."""

import logging
from contextlib import contextmanager

import pytest

ABSENT = "the extra 'cluster' is not installed"


@contextmanager
def cluster(workers=2):
    """Yield the address of a scheduler with so many workers, each a process of its own."""
    dask = pytest.importorskip("dask", reason=ABSENT)
    distributed = pytest.importorskip("distributed", reason=ABSENT)
    quiet = {
        "distributed.scheduler.allowed-failures": 0,
        "distributed.worker.profile.enabled": False,
    }
    with (
        dask.config.set(quiet),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=2,
            host="127.0.0.1",
            dashboard_address=":0",
            silence_logs=logging.CRITICAL,
        ) as made,
    ):
        yield made.scheduler_address
