"""The same application in Ray Serve: replicas on the cores of a cluster, behind Ray's own proxy.

Every replica is a process with its own engines, which batches what it gets as `bertc serve` does. What belongs to one
process alone is refused here: the control of models, and the counters.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from bertc.core.ray_cluster import Cluster, joined_cluster
from bertc.errors import BertcError, EnvironmentLackError
from bertc.serve.application import application, lies_under, refused
from bertc.serve.counters import Counters
from bertc.serve.listener import Address, check_certificate
from bertc.serve.models import Models, ServedModel, Settings
from bertc.serve.refused import Reason, RefusalError
from bertc.targets import target_from_name

NAME = "bertc"
MOST_REQUESTS = 4096
"""Requests that a replica takes at once; its own queue refuses what would wait too long."""

ONGOING_REQUESTS = 16
"""Requests that a replica has in hand, on the average, where their number follows the load: two batches of short texts,
one that runs and one that waits."""

LOGGING = {"enable_access_log": False, "log_level": "WARNING"}
"""A path may be a client's text."""

ONE_PROCESS = ("/metrics", "/v2/repository")


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """Between how many processes, and the cores and GPUs that each is given, which its engines use."""

    least: int
    most: int
    cores: int
    gpus: int = 0

    @property
    def actors(self) -> dict[str, Any]:
        """Ray's options for each of them."""
        return {"num_cpus": self.cores, "num_gpus": self.gpus}

    @property
    def scaling(self) -> dict[str, Any]:
        """Ray Serve's options for them: a number, or bounds within which it follows the load."""
        if self.least == self.most:
            return {"num_replicas": self.most}
        bounds = {"min_replicas": self.least, "max_replicas": self.most}
        return {"autoscaling_config": bounds | {"target_ongoing_requests": ONGOING_REQUESTS}}


def planned_replicas(
    bounds: tuple[int, int] | None, threads: int, cluster: Cluster, *, on_gpus: bool = False
) -> Replicas:
    """Return what fits a cluster; by default one replica for each `threads`, and all cores for one.

    `on_gpus`: each has a GPU, and by default there is one for each. `bounds` are the least and the most replicas.
    Raises `EnvironmentLackError` where the least do not fit; a cluster may grow for the others.

    >>> planned_replicas(None, 2, Cluster(cores=8)), planned_replicas((1, 4), 0, Cluster(cores=8))
    (Replicas(least=4, most=4, cores=2, gpus=0), Replicas(least=1, most=4, cores=2, gpus=0))
    >>> planned_replicas(None, 0, Cluster(cores=8, gpus=2), on_gpus=True)
    Replicas(least=2, most=2, cores=4, gpus=1)
    """
    cores = cluster.cores
    default = max(1, cluster.gpus) if on_gpus else max(1, cores // threads) if threads else 1
    least, most = bounds or (default, default)
    each = threads or max(1, cores // most)
    if on_gpus and least > cluster.gpus:
        raise EnvironmentLackError(
            f"{least} replicas with a GPU each need {least}, and the Ray cluster has {cluster.gpus}; take fewer "
            "(--replicas), or serve an artefact for CPUs"
        )
    if least * each > cores:
        raise EnvironmentLackError(
            f"{least} replicas of {each} cores need {least * each}, and the Ray cluster has {cores}; take fewer "
            "(--replicas, --threads)"
        )
    return Replicas(least=least, most=most, cores=each, gpus=int(on_gpus))


class ReplicaApplication:
    """The application of one replica, which opens its models when the replica starts: Ray pickles it before."""

    def __init__(self, folders: Mapping[str, Path], settings: Settings, keys: Sequence[bytes]) -> None:
        self._folders = dict(folders)
        self._settings = settings
        self._keys = tuple(keys)
        self._models: Models | None = None
        self._inner: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or begin and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http" and any(lies_under(scope["path"], each) for each in ONE_PROCESS):
            refusal = RefusalError(Reason.METHOD, "there are several replicas, and this would reach one of them")
            await refused(scope["path"], refusal)(scope, receive, send)
        else:
            assert self._inner is not None, "a request came before the start"
            await self._inner(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        while (message := await receive())["type"] == "lifespan.startup":
            try:
                await self._start()
            except BertcError as error:
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            await send({"type": "lifespan.startup.complete"})
        assert message["type"] == "lifespan.shutdown"
        if self._models is not None:
            await asyncio.gather(*(model.unload() for model in self._models.values()))
        await send({"type": "lifespan.shutdown.complete"})

    async def _start(self) -> None:
        counters = Counters()
        models = [ServedModel(name, folder, self._settings, counters) for name, folder in self._folders.items()]
        self._models = Models(models)
        self._inner = application(self._models, self._settings.limits, counters, keys=self._keys)
        for model in models:
            await model.load()


def serve_on_ray(
    folders: Mapping[str, Path],
    settings: Settings,
    address: Address,
    *,
    replicas: tuple[int, int] | None = None,
    keys: Sequence[bytes] = (),
    listening: Callable[[str], None] = lambda url: None,
) -> None:
    """Serve artefacts with Ray Serve until SIGINT or SIGTERM. `listening` is told the URL once all replicas answer.

    `replicas` are the least and the most of them, between which Ray Serve follows the load.

    Raises `EnvironmentLackError` where Ray is missing or its cluster too small, and `InputError` for artefacts that
    cannot be served: they are opened here first.
    """
    check_certificate(address)
    with joined_cluster() as cluster:
        from ray import serve

        if serve.status().proxies:
            raise EnvironmentLackError(
                "Ray Serve runs in this cluster already, with an address of its own; end it (serve shutdown), or join "
                "another cluster (RAY_ADDRESS)"
            )
        on_gpus = asyncio.run(_opened_once(folders, settings))
        plan = planned_replicas(replicas, settings.threads, cluster, on_gpus=on_gpus)
        settings = replace(settings, threads=plan.cores)
        try:
            serve.start(http_options=_http_options(address, settings.limits.request_seconds), logging_config=LOGGING)
            deployed = _deployment(ReplicaApplication(_absolute(folders), settings, keys), plan)
            serve.run(deployed, name=NAME, route_prefix="/", logging_config=LOGGING)
            shown = f"[{address.host}]" if ":" in address.host else address.host
            listening(f"http{'s' if address.certificate else ''}://{shown}:{address.port}")
            _until_told()
        except RuntimeError as error:
            raise EnvironmentLackError(
                f"Ray Serve did not deploy: {error}; its logs say why (/tmp/ray/session_latest/logs/serve)"
            ) from error
        finally:
            serve.shutdown()


async def _opened_once(folders: Mapping[str, Path], settings: Settings) -> bool:
    """Open the artefacts as a replica will, and say whether one runs on a GPU.

    What is wrong with one is said here, and not in a replica's log.
    """
    on_gpus = False
    for name, folder in folders.items():
        model = ServedModel(name, folder, settings, Counters())
        await model.load()
        on_gpus |= target_from_name(model.predictor.manifest.target).runtime.on_gpu
        await model.unload()
    return on_gpus


def _absolute(folders: Mapping[str, Path]) -> dict[str, Path]:
    return {name: folder.resolve() for name, folder in folders.items()}


def _http_options(address: Address, seconds: float) -> Any:
    from ray.serve.config import HTTPOptions

    return HTTPOptions(
        host=address.host,
        port=address.port,
        request_timeout_s=seconds + 1,
        ssl_certfile=None if address.certificate is None else str(address.certificate),
        ssl_keyfile=None if address.key is None else str(address.key),
    )


def _deployment(replica: ReplicaApplication, plan: Replicas) -> Any:
    from ray import serve

    deployed = serve.deployment(
        name=NAME,
        max_ongoing_requests=MOST_REQUESTS,
        ray_actor_options=plan.actors,
        **plan.scaling,
    )
    return deployed(serve.ingress(replica)()).bind()


def _until_told() -> None:
    """Wait for SIGINT or SIGTERM."""
    told = threading.Event()
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, frame: told.set())
    told.wait()
