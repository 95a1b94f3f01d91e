"""Where a checkpoint's folder is: on this disk, or on the Hugging Face hub, from where it is downloaded.

The only file that reaches for the network, and only for a name that cannot be a path.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

from bertc.errors import EnvironmentLackError, InputError

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SMALL_FILES = (
    "*config.json",
    "modules.json",
    "*tokenizer.json",
    "*special_tokens_map.json",
    "*vocab.txt",
    "*vocab.json",
    "*merges.txt",
    "*added_tokens.json",
    "calibration.json",
    "modelopt_state.pth",
    "adapter_model.safetensors",
    "adapter_model.bin",
)
SAFE_WEIGHTS = ("model.safetensors", "model-*.safetensors", "model.safetensors.index.json", "[0-9]_*/model.safetensors")
TORCH_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin", "pytorch_model.bin.index.json")
ONNX_WEIGHTS = ("model.onnx", "model.onnx_data", "onnx/model.onnx", "onnx/model.onnx_data")
TENSORFLOW_WEIGHTS = ("*.ckpt*.index", "*.ckpt*.data-*", "checkpoint")
WEIGHTS = (
    ("model*.safetensors", SAFE_WEIGHTS),
    ("pytorch_model*.bin", TORCH_WEIGHTS),
    ("*.ckpt*.index", TENSORFLOW_WEIGHTS),
    ("*.onnx", ONNX_WEIGHTS),
)
"""By preference: what shows that a model has such files, and all of them."""


def local_folder(path: str | Path) -> Path:
    """Return the folder of a checkpoint that is given as a path or as a hub id ("org/name").

    A download goes to huggingface_hub's cache. Raises `InputError` if there is no such folder or hub id,
    `EnvironmentLackError` if the hub cannot be reached or its package is missing.
    """
    return folder_that_is_there(path) or _download(str(path))


def folder_that_is_there(path: str | Path) -> Path | None:
    """Return the folder of a checkpoint; None for a hub id, which nothing looks up here.

    A `Path` is a path, and so is a string that starts with ., / or ~, has more than one slash, or whose first part is
    a local folder. Raises `InputError` for a path where there is no folder.
    """
    text = str(path)
    try:
        folder = Path(path).expanduser()
        if folder.is_dir():
            return folder
        is_file = folder.exists()
    except (OSError, RuntimeError) as error:  # no permission, a name too long, no home
        raise InputError(f"{text[:200]} cannot be opened ({error}); give the folder of a checkpoint") from error
    if is_file and Path(path).suffix == ".onnx":
        raise InputError(
            f"{path} is an ONNX file, an exported graph; give its folder, with config.json and the tokenizer in it, or "
            "better the checkpoint that it was exported from"
        )
    if is_file:
        raise InputError(f"{path} is a file; give the folder that holds config.json and the weights")
    looks_local = isinstance(path, Path) or not HUB_ID.fullmatch(text) or Path(text).parts[0] in (".", "..")
    if looks_local or Path(text).parent.is_dir():  # "models/typo": nobody means the hub's user "models"
        raise InputError(f"{path} does not exist; give the folder of a checkpoint, or a hub id such as org/name")
    return None


def _download(name: str) -> Path:
    try:
        hub = importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise EnvironmentLackError(
            f"{name} is no local folder, and downloading needs huggingface_hub; run pip install 'bertc[hub]'"
        ) from error
    for shown, files in WEIGHTS:
        folder = _snapshot(hub, name, (*SMALL_FILES, *files))
        if any(folder.rglob(shown)):
            break
    return folder


def _snapshot(hub: Any, name: str, patterns: tuple[str, ...]) -> Path:
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(patterns)))
    except errors.GatedRepoError as error:
        raise InputError(f"{name} on the hub is gated; ask for access there and log in with hf auth login") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"{name} is neither a local folder nor a model on the hub; check the name") from error
    except Exception as error:  # network errors come as the exceptions of whatever library the hub's client uses
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EnvironmentLackError(
            f"{name} is no local folder and cannot be downloaded from the hub ({reason}); check the network, or give a "
            "local folder"
        ) from error
