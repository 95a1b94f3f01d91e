"""A request's body as a checked value, values as JSON, and refusals in the words of a protocol."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic_core import CoreSchema
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from bertc.errors import InputError, OutputError
from bertc.serve.bounds import Limits
from bertc.serve.refused import Reason, RefusalError

LOG = logging.getLogger("bertc.serve")
LOOK = 0.1
"""Seconds until the client of a waiting request is watched."""

GONE = 499
"""The status that logs and metrics give to a request whose client has gone; nobody reads it."""

MOST_FAULTS = 100
"""Faults of one body that are looked at: to write down a million of them would take seconds and gigabytes."""

PLAIN_TYPES = ("str", "int", "float", "bool", "list", "dict")

Handler = Callable[[Request], Awaitable[Response]]
Refused = Callable[[RefusalError], Response]


def _failing_fast(schema: Any) -> Any:
    """Return pydantic's checks with all lists among them ending at their first fault."""
    if isinstance(schema, dict):
        found = {name: _failing_fast(each) for name, each in schema.items()}
        return found | {"fail_fast": True} if found.get("type") == "list" else found
    if isinstance(schema, (list, tuple)):
        return type(schema)(map(_failing_fast, schema))
    return schema


class Body(BaseModel):
    """What a protocol sends. What we do not know is refused, so that nothing that was given is ignored.

    A list is read up to its first element that is wrong, and the others are not looked at.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return the checks of this body."""
        schema: CoreSchema = _failing_fast(handler(source))
        return schema


B = TypeVar("B", bound=Body)


async def body_from_request(request: Request, kind: type[B]) -> B:
    """Read a JSON body. Raises `RefusalError` saying where it is wrong, without what stands there."""
    return body_from_json(await request.body(), kind)


def body_from_json(content: bytes, kind: type[B]) -> B:
    """Read JSON. Raises `RefusalError` saying where it is wrong, without what stands there."""
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        if error.error_count() > MOST_FAULTS:
            message = f"the body has {error.error_count()} faults; send what the route reads and nothing else"
            raise RefusalError(Reason.INVALID, message) from None
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        # Where a value may be one of several, each has its fault; what came nearest to fitting says most.
        nearest = max(faults, key=lambda fault: (len(fault["loc"]), not fault["type"].endswith("_type")))
        where = ".".join(str(part) for part in nearest["loc"] if _is_place(part))[:100]
        reason = Reason.MALFORMED if nearest["type"] == "json_invalid" else Reason.INVALID
        raise RefusalError(reason, f"{where}: {nearest['msg']}" if where else nearest["msg"]) from None


def _is_place(part: int | str) -> bool:
    """Say whether a part of a fault's place stands in the body, and is not the name of one of the types it may have."""
    return isinstance(part, int) or (part.isidentifier() and part == part.lower() and part not in PLAIN_TYPES)


def reply(value: Any, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON; arrays of numpy are lists of the shortest numbers that mean the same float."""
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(content, status, headers, "application/json")


def headers_of_refusal(refusal: RefusalError) -> dict[str, str]:
    """Return what stands above a refusal: when to come again, and how to say who one is."""
    if refusal.retry_after is not None:
        return {"Retry-After": str(refusal.retry_after)}
    return {"WWW-Authenticate": "Bearer"} if refusal.reason is Reason.UNAUTHORIZED else {}


def endpoint(handle: Handler, refused: Refused, limits: Limits) -> Handler:
    """Return a handler that answers whatever happens: within the time, and with the protocol's own errors."""

    async def answered(request: Request) -> Response:
        try:
            async with asyncio.timeout(limits.request_seconds):
                if request.headers.get("content-encoding", "identity") != "identity":
                    raise RefusalError(Reason.INVALID, "a body is read as it is; leave Content-Encoding away")
                content = await request.body()
                if not content and "upgrade" in request.headers and request.headers.get("content-length", "0") != "0":
                    raise RefusalError(
                        Reason.MALFORMED,
                        "a request that asks for an Upgrade cannot bring a body; "
                        "leave the header away (curl: --http1.1)",
                    )
                with _while_there(request):
                    return await handle(request)
        except RefusalError as error:
            refusal = error
        except OutputError as error:
            LOG.critical("%s", error)
            refusal = RefusalError(Reason.BROKEN, "the model's answer is no finite number; the server's log says more")
        except InputError as error:
            refusal = RefusalError(Reason.INVALID, str(error))
        except TimeoutError:
            refusal = RefusalError(Reason.LATE, f"it took longer than {limits.request_seconds:g} seconds")
        except ClientDisconnect:
            return Response(status_code=GONE)
        except Exception as error:  # noqa: BLE001  the log has where it was and not its message, which may hold a text
            LOG.critical("%s\n%s", type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
            refusal = RefusalError(Reason.BROKEN, "the server failed; its log says where")
        return refused(refusal)

    return answered


@contextmanager
def _while_there(request: Request) -> Iterator[None]:
    """Cancel what is done for a request whose client has gone. Raises `ClientDisconnect` then."""
    loop, task, gone = asyncio.get_running_loop(), asyncio.current_task(), False
    watch: asyncio.Task[None] | None = None
    assert task is not None

    async def look() -> None:
        nonlocal gone
        await request.receive()  # behind a body that was read whole comes nothing but the client's end
        gone = True
        task.cancel()

    def begin() -> None:
        nonlocal watch
        watch = loop.create_task(look())

    timer = loop.call_later(LOOK, begin)  # most are answered before: for them nothing is started
    try:
        yield
    except asyncio.CancelledError:
        if gone and not task.uncancel():
            raise ClientDisconnect from None
        raise
    finally:
        timer.cancel()
        if watch is not None:
            watch.cancel()
