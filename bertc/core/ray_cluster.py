"""A Ray cluster: the one that RAY_ADDRESS names, or one of this machine's own that ends with its use."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

from bertc.errors import EnvironmentLackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """What a cluster has for actors."""

    cores: int
    gpus: int = 0


def check_ray() -> None:
    """Raise `EnvironmentLackError` where Ray is missing."""
    if find_spec("ray") is None:
        raise EnvironmentLackError("Ray is not installed; run: pip install 'bertc[ray]'")


@contextmanager
def joined_cluster() -> Iterator[Cluster]:
    """Join the cluster of RAY_ADDRESS (`auto`: the one that runs here), or start one; gives what it has, and leaves it.

    One that is started listens on this machine's loopback alone. Raises `EnvironmentLackError` where Ray is missing
    or the cluster does not answer.
    """
    # Ray tells its makers how it is used unless this is set before it is imported. Who wants it sets 1.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    check_ray()
    import ray

    joined = ray.is_initialized()
    if not joined:
        address = os.environ.get("RAY_ADDRESS")
        alone = {} if address else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
        try:
            with _sigterm_kept():
                ray.init(address or "local", log_to_driver=False, logging_level="ERROR", **alone)
        except Exception as error:  # Ray has no type of its own for a node that does not start
            where = f"at {address} cannot be joined" if address else "of this machine cannot be started"
            raise EnvironmentLackError(
                f"the Ray cluster {where}: {error}; start it, or set RAY_ADDRESS to one that runs"
            ) from error
    try:
        found = ray.cluster_resources()
        yield Cluster(cores=int(found.get("CPU", 1)), gpus=int(found.get("GPU", 0)))
    finally:
        if not joined:
            ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """Keep what this program does at SIGTERM: where Ray starts a cluster, it ends the process with status 1 instead."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)
