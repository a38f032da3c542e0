"""A container with a linear regression, which takes and answers CSV as XGBoost's does."""

import csv
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

_COEFFICIENTS = Path(__file__).with_name("regression.json")


@dataclass(frozen=True)
class Regression:
    """Features' names and weights."""

    features: tuple[str, ...]
    coefficients: tuple[float, ...]
    intercept: float

    @classmethod
    def load(cls, path: Path = _COEFFICIENTS) -> "Regression":
        """Read a model's file."""
        data = json.loads(path.read_text(encoding="utf-8"))
        return cls(tuple(data["features"]), tuple(data["coefficients"]), data["intercept"])

    def predict(self, values: list[float]) -> float:
        """Return what the model says about one row."""
        products = (a * b for a, b in zip(self.coefficients, values, strict=True))
        return self.intercept + math.fsum(products)


_MODEL = web.AppKey("model", Regression)


def application() -> web.Application:
    """Build the container."""
    app = web.Application()
    app[_MODEL] = Regression.load()
    app.add_routes([web.get("/ping", _ping), web.post("/invocations", _invocations)])
    return app


async def _ping(request: web.Request) -> web.Response:
    return web.Response()


async def _invocations(request: web.Request) -> web.Response:
    model = request.app[_MODEL]
    body = await request.read()
    if not body.strip():
        return web.Response(status=204)
    if request.content_type != "text/csv":
        return _refused(f"Content type {request.content_type} is not supported; send text/csv.")
    try:
        rows = _parse(body, model)
    except ValueError as exc:
        return _refused(f"Loading csv data failed: {exc}")
    answer = "".join(f"{round(model.predict(row), 6)}\n" for row in rows)
    return web.Response(text=answer, content_type="text/csv")


def _parse(body: bytes, model: Regression) -> list[list[float]]:
    rows = []
    text = body.decode()
    for number, cells in enumerate(csv.reader(io.StringIO(text)), start=1):
        if not cells:
            continue
        if len(cells) != len(model.features):
            names = ", ".join(model.features)
            raise ValueError(f"row {number} has {len(cells)} columns, expected {names}")
        try:
            rows.append([float(cell) for cell in cells])
        except ValueError:
            raise ValueError(f"row {number} has a value that is no number: {cells}") from None
    return rows


def _refused(reason: str) -> web.Response:
    return web.Response(status=415, text=reason)
