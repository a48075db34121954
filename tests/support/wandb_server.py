"""A stand-in for the wandb server: answers as far as the client asks, keeps what it is sent. And servers that do not.

It is no test of the real server, which cannot be had here: it shows that what the client sends arrives, in order, once.
"""

import base64
import contextlib
import gzip
import json
import re
import socket
import threading
from http.server import BaseHTTPRequestHandler

from servers import QuietServer

ENTITY = "team"


class WandbStandIn:
    """``runs[id]`` is what arrived for a run: rows of history, config, tags, artefacts made and used, files.

    ``faults`` is a set of words: "refuse key" (401), "die" (hangs up on everything), "hang" (never answers). It dies
    by itself after ``last`` requests.
    """

    def __init__(self, last=None, key="local-" + "0123456789abcdef" * 2 + "01234567"):
        self.last, self.key, self.runs, self.artefacts, self.faults, self.requests = last, key, {}, {}, set(), []
        self.stopping = threading.Event()
        self._lock = threading.RLock()
        self._server = QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def run(self, name):
        with self._lock:
            empty = {"history": {}, "config": {}, "made": [], "used": [], "files": {}, "about": {}, "exit": None}
            return self.runs.setdefault(name, empty)

    def answer(self, query, variables):
        """The data of a GraphQL answer."""
        with self._lock:
            name = re.search(r"(?:query|mutation)\s+(\w+)", query)
            ask = getattr(self, f"_{name[1]}" if name else "_none", None)
            return ask(variables) if ask else {}

    def stream(self, run_id, body):
        """Lines of files that grow: history by its number, so that what is sent twice is there once."""
        with self._lock:
            run = self.run(run_id)
            for name, part in (body.get("files") or {}).items():
                for number, line in enumerate(part["content"]):
                    if name == "wandb-history.jsonl":
                        run["history"][part["offset"] + number] = json.loads(line)
            if body.get("complete"):
                run["exit"] = body.get("exitcode")

    def _Viewer(self, _):  # noqa: N802
        return {"viewer": {"id": "1", "entity": ENTITY, "username": "me", "flags": "{}", "teams": {"edges": []}}}

    def _ServerFeaturesQuery(self, _):  # noqa: N802
        return {"serverInfo": {"features": []}}

    def _RunResumeStatus(self, variables):  # noqa: N802
        run = self.runs.get(variables["name"])
        if run is None:
            return {
                "model": {
                    "id": "p",
                    "name": variables["project"],
                    "entity": {"id": "e", "name": ENTITY},
                    "bucket": None,
                }
            }
        tail = [json.dumps(run["history"][max(run["history"])])] if run["history"] else []
        bucket = {
            "id": variables["name"], "name": variables["name"], "summaryMetrics": "{}", "displayName": "x",
            "logLineCount": 0, "historyLineCount": len(run["history"]), "eventsLineCount": 0,
            "historyTail": json.dumps(tail), "eventsTail": "[]", "config": json.dumps(run["config"]), "tags": [],
            "notes": "", "wandbConfig": json.dumps({"t": 1}),
        }  # fmt: skip
        return {
            "model": {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}, "bucket": bucket}
        }

    def _UpsertBucket(self, variables):  # noqa: N802
        run = self.run(variables["name"])
        is_new = not run["about"]
        run["about"] |= {key: value for key, value in variables.items() if value not in (None, "")}
        run["config"] |= json.loads(variables.get("config") or "{}")
        project = {"id": "p", "name": variables.get("project"), "entity": {"id": "e", "name": ENTITY}}
        bucket = {
            "id": variables["name"], "name": variables["name"], "displayName": variables.get("displayName"),
            "description": "", "config": "{}", "sweepName": None, "project": project, "historyLineCount": 0,
        }  # fmt: skip
        return {"upsertBucket": {"bucket": bucket, "inserted": is_new}}

    def _CreateArtifact(self, variables):  # noqa: N802
        asked = variables["input"]
        name, digest = asked["artifactCollectionName"], asked["digest"]
        identity = self.artefacts.setdefault((name, digest), f"artefact-{len(self.artefacts)}")
        self.run(asked["runName"])["made"].append(name)
        return {"createArtifact": {"artifact": {
            "id": identity, "state": "COMMITTED", "artifactSequence": {"latestArtifact": {"id": identity}},
        }}}  # fmt: skip

    def _UseArtifact(self, variables):  # noqa: N802
        variables = variables.get("input", variables)
        names = {identity: name for (name, _), identity in self.artefacts.items()}
        self.run(variables["runName"])["used"].append(names[variables["artifactID"]])
        return {"useArtifact": {"artifact": {"id": variables["artifactID"], "digest": "", "description": "",
                                             "state": "COMMITTED", "createdAt": "", "metadata": "{}"}}}  # fmt: skip

    def _CreateRunFiles(self, variables):  # noqa: N802
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{variables['run']}/{name}"} for name in variables["files"]
        ]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}


class _Handler(BaseHTTPRequestHandler):
    web: WandbStandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._serve()

    do_POST = do_PUT = do_HEAD = do_GET

    def _serve(self):
        body = self._read()
        web = self.web
        web.requests.append((self.command, self.path))
        if web.last is not None and len(web.requests) > web.last:
            web.faults.add("die")
        if "hang" in web.faults:
            web.stopping.wait(60)
            return None
        if "die" in web.faults:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return None
        if self.path.startswith("/upload/"):
            _, _, run_id, name = self.path.split("/", 3)
            web.run(run_id)["files"][name] = body
            return self._send(200, {})
        expected = "Basic " + base64.b64encode(f"api:{web.key}".encode()).decode()
        if self.headers.get("Authorization") != expected or "refuse key" in web.faults:
            return self._send(401, {"errors": [{"message": "user is not logged in"}]})
        if self.path == "/graphql":
            asked = json.loads(body)
            return self._send(200, {"data": web.answer(asked["query"], asked.get("variables") or {})})
        if self.path.startswith("/files/"):
            web.stream(self.path.split("/")[-2], json.loads(body))
            return self._send(200, {})
        return self._send(404, {})

    def _read(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline().strip() or b"0", 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _send(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextlib.contextmanager
def silent_server():
    """The address of a server that accepts and never answers."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(64)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def closed_port():
    """An address where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"
