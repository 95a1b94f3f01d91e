"""The Open Inference Protocol, version 2, over REST, with binary tensors and the control of models.

https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md); the extensions are
those of github.com/triton-inference-server/server (docs/protocol: binary_data, model_repository).

A model reads either "text" (BYTES, with "pair" where the task takes one) and gives "answer", as `bertc predict` does,
or the ids of its own tokenizer; both give the engine's arrays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import orjson
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bertc.core.versions import __version__
from bertc.errors import BertcError
from bertc.jobs.predict import shortest_feature
from bertc.serve.bounds import Limits
from bertc.serve.endpoints import Body, body_from_json, endpoint, headers_of_refusal, reply
from bertc.serve.models import Models, ServedModel
from bertc.serve.protocols._arrays import batched
from bertc.serve.protocols._task_names import has_array_per_text
from bertc.serve.protocols._tensors import (
    GivenTensor,
    bytes_of_inputs,
    bytes_of_texts,
    ids_from_tensor,
    texts_from_tensor,
)
from bertc.serve.protocols._token_ids import features_from_ids, rows_from_ids
from bertc.serve.refused import Reason, RefusalError
from bertc.tasks import outputs_from_head

LOG = logging.getLogger("bertc.serve")
VERSION = "1"
JSON_LENGTH = "Inference-Header-Content-Length"
ANSWER = "answer"
TEXTS, IDS = ("text", "pair"), ("input_ids", "attention_mask", "token_type_ids")


class RequestParameters(Body):
    """Whether outputs come as bytes where they do not say themselves."""

    binary_data_output: bool = False


class OutputParameters(Body):
    """Whether this output comes as bytes."""

    binary_data: bool | None = None


class WantedOutput(Body):
    """An output that is asked for."""

    name: str
    parameters: OutputParameters = OutputParameters()


class InferBody(Body):
    """.../infer. KServe's client repeats the path's model name; the protocol has none here."""

    id: str = ""
    model_name: str | None = None
    inputs: list[GivenTensor] = Field(max_length=16)
    outputs: list[WantedOutput] = Field(default=[], max_length=16)
    parameters: RequestParameters = RequestParameters()


class IndexBody(Body):
    """/v2/repository/index."""

    ready: bool = False


class LoadBody(Body):
    """.../load: an artefact is loaded as it is, without another configuration."""

    parameters: dict[str, str] = Field(default={}, max_length=0)


class UnloadParameters(Body):
    """What else goes with a model: here none depends on another."""

    unload_dependents: bool = False


class UnloadBody(Body):
    """.../unload."""

    parameters: UnloadParameters = UnloadParameters()


def refused(refusal: RefusalError) -> Response:
    """Return a refusal as {error}."""
    status = 400 if refusal.reason is Reason.INVALID else refusal.reason.status
    return reply({"error": refusal.message}, status=status, headers=headers_of_refusal(refusal))


def routes(models: Models, limits: Limits) -> list[Route]:
    """Return the routes."""

    async def server(request: Request) -> Response:
        return reply(
            {"name": "bertc", "version": __version__, "extensions": ["binary_tensor_data", "model_repository"]}
        )

    async def live(request: Request) -> Response:
        return reply({"live": True})

    async def ready(request: Request) -> Response:
        missing = [model.name for model in models.values() if not model.ready]
        if missing:
            raise RefusalError(Reason.UNREADY, f"not loaded: {', '.join(missing)}")
        return reply({"live": True, "ready": True})

    async def index(request: Request) -> Response:
        body = await _optional_body(request, IndexBody)
        listed = [model for model in models.values() if model.ready or not body.ready]
        return reply([_indexed(model) for model in listed])

    calls: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
        "/v2": ("GET", server),
        "/v2/health/live": ("GET", live),
        "/v2/health/ready": ("GET", ready),
        "/v2/repository/index": ("POST", index),
        "/v2/repository/models/{name}/load": ("POST", _of_model(models, load)),
        "/v2/repository/models/{name}/unload": ("POST", _of_model(models, unload)),
    }
    for begin in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        calls[begin] = ("GET", _of_model(models, metadata))
        calls[f"{begin}/ready"] = ("GET", _of_model(models, model_ready))
        calls[f"{begin}/infer"] = ("POST", _of_model(models, infer))
    return [Route(path, endpoint(call, refused, limits), methods=[method]) for path, (method, call) in calls.items()]


def _of_model(
    models: Models, call: Callable[[ServedModel, Request], Awaitable[Response]]
) -> Callable[[Request], Awaitable[Response]]:
    async def handle(request: Request) -> Response:
        model = models.named(request.path_params["name"])
        version = request.path_params.get("version", VERSION)
        if version != VERSION:
            raise RefusalError(Reason.UNKNOWN, f"{model.name} has the version {VERSION} and no {version!r:.40}")
        return await call(model, request)

    return handle


async def _optional_body(request: Request, kind: type[Any]) -> Any:
    content = await request.body()
    return body_from_json(content, kind) if content else kind()


def _indexed(model: ServedModel) -> dict[str, str]:
    state = {"state": "READY", "reason": ""} if model.ready else {"state": "UNAVAILABLE", "reason": "unloaded"}
    return {"name": model.name, "version": VERSION} | state


async def load(model: ServedModel, request: Request) -> Response:
    """Read the artefact's folder again; what was asked before is answered by the older one."""
    await _optional_body(request, LoadBody)
    try:
        await _to_its_end(model.load())
    except BertcError as error:
        raise RefusalError(Reason.INVALID, str(error)) from error
    return reply({})


async def unload(model: ServedModel, request: Request) -> Response:
    """Answer what was asked, and close the artefact."""
    await _optional_body(request, UnloadBody)
    await _to_its_end(model.unload())
    return reply({})


_UNDER_WAY: set[asyncio.Task[None]] = set()


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Wait for work that goes on although its client has gone or waited too long: half of it would leave an engine."""
    task = asyncio.create_task(work)
    _UNDER_WAY.add(task)
    task.add_done_callback(_ended)
    await asyncio.shield(task)


def _ended(task: asyncio.Task[None]) -> None:
    _UNDER_WAY.discard(task)
    error = None if task.cancelled() else task.exception()
    if error is not None:
        LOG.warning("a model was not loaded: %s", error)


async def model_ready(model: ServedModel, request: Request) -> Response:
    """Say that a model answers."""
    if not model.ready:
        raise RefusalError(Reason.UNREADY, f"the model {model.name} is not loaded")
    return reply({"name": model.name, "ready": True})


async def metadata(model: ServedModel, request: Request) -> Response:
    """Return the tensors of a model; the outputs' sizes are those of a text that is run for it."""
    ran = await model.answer_features(1, lambda predictor: [shortest_feature(predictor)])
    per_token = {output.name: output.per_token for output in outputs_from_head(ran.predictor.head)}
    outputs = [{"name": ANSWER, "datatype": "BYTES", "shape": [-1]}]
    for name, (array, *_) in ran.arrays.items():
        sizes = [-1, *array.shape[1:]] if per_token[name] else list(array.shape)
        outputs.append({"name": name, "datatype": "FP32", "shape": [-1, *sizes]})
    inputs = [{"name": name, "datatype": "BYTES", "shape": [-1]} for name in TEXTS]
    inputs += [{"name": name, "datatype": "INT64", "shape": [-1, -1]} for name in IDS]
    return reply(
        {
            "name": model.name,
            "versions": [VERSION],
            "platform": f"bertc_{ran.predictor.manifest.target}",
            "inputs": inputs,
            "outputs": outputs,
        }
    )


async def infer(model: ServedModel, request: Request) -> Response:
    """Answer texts or token ids."""
    content = await request.body()
    length = _json_length(request, content)
    body = body_from_json(content[:length], InferBody)
    if body.model_name not in (None, model.name):
        raise RefusalError(Reason.INVALID, f"model_name is {body.model_name!r:.40}, and the path's is {model.name}")
    given = _named_inputs(body, content[length:])
    wanted = [output.name for output in body.outputs]
    if len(set(wanted)) != len(wanted):
        raise RefusalError(Reason.INVALID, "an output is asked for twice")
    names = set(given)
    if "text" in names and names <= set(TEXTS):
        arrays = await _of_texts(model, given, wanted)
    elif "input_ids" in names and names <= set(IDS):
        arrays = await _of_ids(model, given)
    else:
        raise RefusalError(
            Reason.INVALID, f"the inputs are text (and pair), or {', '.join(IDS)}; others, or both, are not read"
        )
    for name in wanted:
        if name not in arrays:
            raise RefusalError(
                Reason.INVALID, f"these inputs have no output {name!r:.40}; they have {', '.join(arrays)}"
            )
    return _response(model, body, arrays)


def _json_length(request: Request, content: bytes) -> int:
    given = request.headers.get(JSON_LENGTH)
    if given is None:
        return len(content)
    if not (given.isascii() and given.isdecimal() and len(given) < 16) or int(given) > len(content):
        raise RefusalError(Reason.INVALID, f"{JSON_LENGTH} is the length of the JSON, at most that of the body")
    return int(given)


def _named_inputs(body: InferBody, behind: bytes) -> dict[str, tuple[GivenTensor, bytes | None]]:
    pieces = bytes_of_inputs(body.inputs, behind)
    given = {tensor.name: (tensor, piece) for tensor, piece in zip(body.inputs, pieces, strict=True)}
    if len(given) != len(body.inputs):
        raise RefusalError(Reason.INVALID, "an input is there twice")
    return given


async def _of_texts(
    model: ServedModel, given: dict[str, tuple[GivenTensor, bytes | None]], wanted: list[str]
) -> dict[str, Any]:
    """Return the answers to texts, and the engine's arrays where it has one for each text and not several."""
    columns = [texts_from_tensor(*given[name]) for name in TEXTS if name in given]
    if len({len(column) for column in columns}) > 1:
        raise RefusalError(Reason.INVALID, "text and pair have different numbers of texts")
    if not columns[0]:
        raise RefusalError(Reason.EMPTY, "there is no text")
    answer = await model.answer(list(zip(*columns, strict=True)))
    found: dict[str, Any] = {}
    if not wanted or ANSWER in wanted:
        found[ANSWER] = [orjson.dumps(each, option=orjson.OPT_SERIALIZE_NUMPY) for each in await answer.predicted()]
    else:
        found[ANSWER] = []
    # The answer's own model: an artefact of another task may have taken its place meanwhile.
    if has_array_per_text(answer.predictor.head.task, pairs=len(columns) == 2):
        found |= batched(answer.predictor, answer.arrays, None)
    return found


async def _of_ids(model: ServedModel, given: dict[str, tuple[GivenTensor, bytes | None]]) -> dict[str, Any]:
    """Return the engine's arrays for ids [texts, tokens], of which the mask says how many each text has."""
    batch = {name: ids_from_tensor(*each) for name, each in given.items()}
    rows, kinds = rows_from_ids(batch)
    ran = await model.answer_features(len(rows), lambda predictor: features_from_ids(predictor, rows, kinds))
    return batched(ran.predictor, ran.arrays, batch["input_ids"].shape[1])


def _response(model: ServedModel, body: InferBody, arrays: dict[str, Any]) -> Response:
    """Return tensors as JSON, or behind it where that was asked for."""
    asked = {output.name: output.parameters.binary_data for output in body.outputs} or dict.fromkeys(arrays)
    outputs, pieces = [], []
    for name, binary in asked.items():
        value = arrays[name]
        texts = isinstance(value, list)
        shape = [len(value)] if texts else list(value.shape)
        output: dict[str, Any] = {"name": name, "datatype": "BYTES" if texts else "FP32", "shape": shape}
        if body.parameters.binary_data_output if binary is None else binary:
            pieces.append(bytes_of_texts(value) if texts else value.astype("<f4").tobytes())
            output["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            output["data"] = [each.decode() for each in value] if texts else value.ravel()
        outputs.append(output)
    head = {"model_name": model.name, "model_version": VERSION} | ({"id": body.id} if body.id else {})
    content = orjson.dumps(head | {"outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    if not pieces:
        return Response(content, media_type="application/json")
    headers = {JSON_LENGTH: str(len(content))}
    return Response(b"".join([content, *pieces]), 200, headers, "application/octet-stream")
