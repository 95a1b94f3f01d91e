"""The processes that train together, as torchrun starts them, and what one process needs to be one of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from bertc.errors import EnvironmentLackError, InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """This process's place: `rank` of `world`, and the device it computes on."""

    rank: int
    world: int
    device: torch.device

    @property
    def writes(self) -> bool:
        """Whether this process writes files and speaks: the first alone."""
        return self.rank == 0

    def module(self, network: torch.nn.Module) -> torch.nn.Module:
        """Return what to call for a forward pass whose gradients are averaged over the processes.

        All begin with the first one's weights.
        """
        if self.world == 1:
            return network
        # The buffers (scales, masks) never change; older versions of torch name the option otherwise.
        present = "forward_sync_buffers" in signature(DistributedDataParallel).parameters
        option = {"forward_sync_buffers" if present else "broadcast_buffers": False}
        return DistributedDataParallel(network, **option)  # type: ignore[arg-type]

    def sum(self, value: torch.Tensor) -> torch.Tensor:
        """Return the sum over the processes."""
        if self.world > 1:
            distributed.all_reduce(value)
        return value

    def first(self, value: Any) -> Any:
        """Return the first process's value."""
        box = [value]
        if self.world > 1:
            distributed.broadcast_object_list(box, src=0)
        return box[0]

    def gathered(self, value: Any) -> list[Any]:
        """Return every process's value, by rank."""
        found = [value] * self.world
        if self.world > 1:
            distributed.all_gather_object(found, value)
        return found


def use_threads(threads: int) -> None:
    """Let torch compute with so many threads; 0 leaves it as it is."""
    if threads:
        torch.set_num_threads(threads)


def facts_of_torch() -> dict[str, Any]:
    """Return torch's version and the threads that it computes with."""
    return {"version": torch.__version__, "threads": torch.get_num_threads()}


@contextmanager
def joined_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started (its environment variables say so), or stand alone.

    `device` is "auto", "cpu" or "cuda". Raises `EnvironmentLackError` where there is no such device.
    """
    world, rank, local = (int(os.environ.get(name, default)) for name, default in _PLACE)
    chosen = _device(device, local)
    if world == 1:
        yield Processes(rank=0, world=1, device=chosen)
        return
    if chosen.type == "cuda":
        torch.cuda.set_device(chosen)
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield Processes(rank=rank, world=world, device=chosen)
    finally:
        distributed.destroy_process_group()


_PLACE = (("WORLD_SIZE", "1"), ("RANK", "0"), ("LOCAL_RANK", "0"))


def _device(name: str, local: int) -> torch.device:
    present = torch.cuda.device_count()
    if name == "cpu" or (name == "auto" and present == 0):
        return torch.device("cpu")
    if present == 0:
        raise EnvironmentLackError("there is no CUDA device, or this torch cannot use it; train with --device cpu")
    if local >= present:
        raise InputError(
            f"process {local} of this machine has no CUDA device of its own (there are {present}); start at most "
            f"{present} processes here, or train with --device cpu"
        )
    return torch.device("cuda", local)
