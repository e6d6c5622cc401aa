"""The demo's HTTP interface. Photos come as plain request bodies, answers are JSON.

    GET  /                                     the page; /style.css, /app.js, …
    GET  /api/model                            skeleton, colours, stages, limits
    POST /api/photos                           a file -> its people
    GET  /api/photos/KEY/picture               the upright photo, JPEG
    POST /api/photos/KEY/people                {"box": [x1, y1, x2, y2]} -> the person in it
    GET  /api/photos/KEY/people/N/heatmaps     crop and heatmaps per stage

A body is counted as it comes in and never touches the disk, as a form's files would. Decoding and
networks run in one thread, one photo after the other, while the event loop stays free.
"""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from cpn.demo.album import Album, StoredPhoto
from cpn.demo.analysis import Analyst, Person, Timing
from cpn.demo.guard import guards
from cpn.demo.page import MIB, Facts, page_html, scripts, style_sheet
from cpn.demo.stages import Stage, stage_names
from cpn.demo.uploads import TOO_LARGE, RefusedError, encoded
from cpn.errors import UserError, first_line
from cpn.prediction.visualization import Color, keypoint_colors, limb_colors

T = TypeVar("T")
# Each may hold an upload in memory; further ones are told to come back.
MAX_WAITING = 8
MOST_BOX_BYTES = 1024
UNAVAILABLE = 503


class _DrawnBox(msgspec.Struct, forbid_unknown_fields=True):
    box: Annotated[list[float], msgspec.Meta(min_length=4, max_length=4)]


@dataclass
class Demo:
    """Answers requests.

    Attributes:
        analyst: does the work, in a thread of its own.
        facts: what the page tells, and the limits.
    """

    analyst: Analyst
    facts: Facts
    _album: Album = field(default_factory=Album)
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "analyst"))
    _waiting: int = 0

    def application(self) -> Starlette:
        """For a server; `guards` stand before it."""
        texts = {"/style.css": (style_sheet(), "text/css")}
        texts |= {f"/{name}": (text, "text/javascript") for name, text in scripts().items()}
        html = page_html(self.facts)
        photo = "/api/photos/{key}"
        return Starlette(
            routes=[
                Route("/", lambda _: HTMLResponse(html)),
                *(Route(path, _text(*text)) for path, text in texts.items()),
                Route("/api/model", self._model),
                Route("/api/photos", self._add_photo, methods=["POST"]),
                Route(f"{photo}/picture", self._picture),
                Route(f"{photo}/people", self._add_person, methods=["POST"]),
                Route(f"{photo}/people/{{number:int}}/heatmaps", self._heatmaps),
            ],
            middleware=guards(),
            exception_handlers={
                UserError: _refuse,
                HTTPException: _refuse_by_status,
                ClientDisconnect: _nobody_listens,
                Exception: _tell_of_a_bug,
            },
        )

    async def _model(self, _request: Request) -> Response:
        skeleton = self.analyst.predictor.skeleton
        return JSONResponse(
            {
                "names": [name.replace("_", " ") for name in skeleton.keypoint_names],
                "limbs": skeleton.limbs,
                "keypoint_colors": [_css(color) for color in keypoint_colors(skeleton)],
                "limb_colors": [_css(color) for color in limb_colors(skeleton)],
                "keypoint_threshold": self.facts.keypoint_threshold,
                "stages": stage_names(self.analyst.predictor.estimator.model),
                "has_detector": self.facts.has_detector,
                "max_upload_bytes": self.facts.max_upload_bytes,
            }
        )

    async def _add_photo(self, request: Request) -> Response:
        async with self._place():
            content = await self._body(request, self.facts.max_upload_bytes, self._too_large())
            found = await self._in_turn(lambda: self.analyst(content))
        photo = StoredPhoto(content, found.picture, found.people)
        width, height = found.size_wh
        return JSONResponse(
            {
                "key": self._album.add(photo),
                "width": width,
                "height": height,
                "people": [_person(*each) for each in enumerate(found.people)],
                "timing": _milliseconds(found.timing),
            }
        )

    async def _picture(self, request: Request) -> Response:
        return Response(self._photo(request).picture, media_type="image/jpeg")

    async def _add_person(self, request: Request) -> Response:
        photo = self._photo(request)
        refusal = f"a box has no more than {MOST_BOX_BYTES} bytes"
        content = await self._body(request, MOST_BOX_BYTES, refusal)
        try:
            drawn = msgspec.json.decode(content, type=_DrawnBox)
        except msgspec.DecodeError as error:
            raise RefusedError(f"the box cannot be read: {first_line(error)}") from error
        box = np.array(drawn.box, dtype=np.float64)
        photo.check_place()
        async with self._place():
            person, timing = await self._in_turn(
                lambda: self.analyst.one_person(photo.content, box)
            )
        number = photo.add(person)
        return JSONResponse({"person": _person(number, person), "timing": _milliseconds(timing)})

    async def _heatmaps(self, request: Request) -> Response:
        person = self._photo(request).person(request.path_params["number"])
        async with self._place():
            stages = await self._in_turn(lambda: self.analyst.stages(person))
        height, width = person.crop.shape[:2]
        return JSONResponse(
            {
                "crop": _base64(encoded(person.crop, ".png")),
                "width": width,
                "height": height,
                "stages": [_stage(stage) for stage in stages],
            }
        )

    def _photo(self, request: Request) -> StoredPhoto:
        return self._album[request.path_params["key"]]

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._waiting >= MAX_WAITING:
            raise RefusedError(
                f"{MAX_WAITING} requests are waiting already: try again soon", UNAVAILABLE
            )
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def _body(self, request: Request, most_bytes: int, refusal: str) -> bytes:
        """What was sent; refused as soon as it is too much, at best before it is sent."""
        declared = request.headers.get("content-length", "")
        content = bytearray()
        if not (declared.isdecimal() and int(declared) > most_bytes):
            async for chunk in request.stream():
                content += chunk
                if len(content) > most_bytes:
                    break
            else:
                return bytes(content)
        raise RefusedError(refusal, TOO_LARGE)

    def _too_large(self) -> str:
        return (
            f"the file has more than {self.facts.max_upload_bytes / MIB:.4g} MiB: make it smaller,"
            " or start the demo with a higher max_upload_mib"
        )

    async def _in_turn(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _text(content: str, media_type: str) -> Callable[[Request], Response]:
    return lambda _: Response(content, media_type=media_type)


async def _refuse(_request: Request, error: Exception) -> Response:
    status = error.status if isinstance(error, RefusedError) else 500
    return JSONResponse({"error": str(error)}, status)


async def _refuse_by_status(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _nobody_listens(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)


async def _tell_of_a_bug(_request: Request, error: Exception) -> Response:
    """The server's log gets the traceback."""
    message = f"this went wrong on the server, whose terminal says more: {first_line(error)}"
    return JSONResponse({"error": message}, 500)


def _person(number: int, person: Person) -> dict[str, Any]:
    return {
        "number": number,
        "box": person.box_xyxy.tolist(),
        "box_score": person.box_score,
        "score": float(person.scores.mean()),
        "keypoints": np.column_stack([person.keypoints, person.scores]).tolist(),
    }


def _stage(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "size": stage.maps.shape[1:],
        "maps": _base64(stage.maps.tobytes()),
        "peaks": stage.peaks.tolist(),
        "points": stage.points_crop.tolist(),
    }


def _milliseconds(timing: Timing) -> dict[str, float]:
    return {name: round(value, 1) for name, value in timing._asdict().items()}


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _css(color: Color) -> str:
    return "#{:02x}{:02x}{:02x}".format(*color)
