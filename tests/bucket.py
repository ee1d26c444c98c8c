"""A stand-in for Cloud Storage on this machine: gcp-storage-emulator, plus what tensorstore asks of it.

    python tests/bucket.py      prints the address; ends with its standard input

The emulator knows neither moving, nor preconditions on an object's generation nor the header that
tells it: https://cloud.google.com/storage/docs/request-preconditions
"""

import os
import sys
import threading
from http import HTTPStatus
from http.server import ThreadingHTTPServer

from gcp_storage_emulator import server
from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import objects

ONE = threading.Lock()  # many ask at once, one is answered: the emulator is made for one


def guarded(handler):
    """The same handler, if the object is of the generation that was asked for."""

    def handle(request, response, storage):
        with ONE:
            answer(request, response, storage)

    def answer(request, response, storage):
        query, params = request.query, request.params
        name = params.get("object_id") or query.get("name", [""])[0]
        try:
            now = storage.get_file_obj(params["bucket_name"], name)["generation"]
        except (NotFound, KeyError):
            now = "0"
        if query.get("ifGenerationMatch", [now])[0] != now:
            response.status = HTTPStatus.PRECONDITION_FAILED
        elif now != "0" and query.get("ifGenerationNotMatch", [""])[0] == now:
            response.status = HTTPStatus.NOT_MODIFIED
        else:
            response["x-goog-generation"] = now
            handler(request, response, storage)

    return handle


def move(request, response, storage):
    """https://cloud.google.com/storage/docs/json_api/v1/objects/move"""
    bucket, old, new = (request.params[k] for k in ("bucket_name", "object_id", "new"))
    try:
        objects._copy(request.base_url, storage, bucket, old, bucket, new)
        storage.delete_file(bucket, old)
    except NotFound:
        response.status = HTTPStatus.NOT_FOUND
    response.json({"kind": "storage#object"})


MOVE = r"^/storage/v1/b/(?P<bucket_name>[^/]+)/o/(?P<object_id>.+)/moveTo/o/(?P<new>.+)$"

if __name__ == "__main__":
    server.HANDLERS = ((MOVE, {server.POST: move}), *server.HANDLERS)
    for _, handlers in server.HANDLERS:
        for method, handler in handlers.items():
            handlers[method] = guarded(handler)
    server.server.HTTPServer = ThreadingHTTPServer
    here = server.create_server("localhost", 0, in_memory=True, default_bucket="bucket")
    here.start()
    print(f"http://localhost:{here._api._httpd.server_address[1]}", flush=True)
    sys.stdin.read()
    os._exit(0)
