"""Serves a model over HTTP: an example with FastAPI and uvicorn.

pip install 'fastapi<1' 'uvicorn<1'
python docs/serve.py runs/demo/saved_model --port=8000
curl --data-binary @photo.jpg http://127.0.0.1:8000/segments

POST /segments answers an image file with its size and segments as JSON: those of COCO's panoptic format, with scores, and the
ids of the pixels as a PNG in base64. POST /overlay answers with the drawn segments as a PNG. Requests run in threads, which
share one kmax_tf.Predictor.
"""

import argparse
import base64
import io

import fastapi
import numpy as np
import uvicorn
from fastapi.concurrency import run_in_threadpool
from PIL import Image

from kmax_tf import ImageError, Prediction, Predictor

_LARGEST_FILE = 64 << 20  # bytes


def make_app(predictor: Predictor) -> fastapi.FastAPI:
    """The application that answers with the predictions of a model."""
    app = fastapi.FastAPI(title="kMaX-DeepLab")

    async def predicted(request: fastapi.Request) -> Prediction:
        data = await _body(request)
        try:
            return await run_in_threadpool(predictor, data)
        except ImageError as error:
            raise fastapi.HTTPException(400, str(error)) from None

    @app.post("/segments")
    async def segments(request: fastapi.Request) -> dict:
        result = await predicted(request)
        annotation, colors = await run_in_threadpool(result.to_coco)
        height, width = result.panoptic.shape
        categories = {segment.category_id: segment.category for segment in result.segments}
        for segment in annotation["segments_info"]:
            segment["category"] = categories[segment["category_id"]]
        png = base64.b64encode(_png(colors)).decode()
        return {"height": height, "width": width, "segments": annotation["segments_info"], "png": png}

    @app.post("/overlay")
    async def overlay(request: fastapi.Request) -> fastapi.Response:
        result = await predicted(request)
        return fastapi.Response(_png(await run_in_threadpool(result.draw)), media_type="image/png")

    return app


async def _body(request: fastapi.Request) -> bytes:
    data = bytearray()
    async for part in request.stream():
        data += part
        if len(data) > _LARGEST_FILE:
            raise fastapi.HTTPException(413, f"the image has more than {_LARGEST_FILE >> 20} MB")
    return bytes(data)


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an export, or a checkpoint with its config")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    uvicorn.run(make_app(Predictor(arguments.model)), host=arguments.host, port=arguments.port)


if __name__ == "__main__":
    main()
