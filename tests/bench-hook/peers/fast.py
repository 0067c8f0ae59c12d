"""The same hook on what is fast in Python: FastAPI on uvicorn with uvloop and httptools, orjson. Its parser is native code."""

import sys

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response

from plain import sync

app = FastAPI()


@app.post("/sync")
async def answer(request: Request):
    answer = orjson.dumps(sync(orjson.loads(await request.body())))
    return Response(answer, media_type="application/json")


if __name__ == "__main__":
    address, port, workers = sys.argv[1:]
    uvicorn.run(
        "fast:app",
        host=address,
        port=int(port),
        workers=int(workers),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
