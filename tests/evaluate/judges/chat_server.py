"""A chat-completions server on this machine that behaves as it is told, request by request."""

import json
import re
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

USAGE = {"prompt_tokens": 100, "completion_tokens": 10}


def completion(text, usage=USAGE, **message):
    body = {"model": "judge-1-dated", "choices": [{"finish_reason": "stop"}]}
    body["choices"][0]["message"] = {"role": "assistant", "content": text, **message}
    return body | ({"usage": usage} if usage is not None else {})


def sent_id(request):
    """The id that the judge is to repeat."""
    return re.search(r'"id": "([0-9a-f]{32})"', request["messages"][0]["content"])[1]


def verdict(request, harmful=True, **more):
    return json.dumps({"id": sent_id(request), "harmful": harmful, **more})


class Server:
    """Answers every request by what `behave(request, number)` gives.

    That is a text or a body (status 200), or (status, headers, body), or "close" or ("slow",
    seconds).
    """

    def __init__(self, behave):
        self.behave, self.requests, self.headers = behave, [], []
        self.lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                outer.handle(self)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def handle(self, handler):
        assert handler.path == "/v1/chat/completions"
        length = int(handler.headers["Content-Length"])
        request = json.loads(handler.rfile.read(length))
        with self.lock:
            self.requests.append(request)
            self.headers.append(dict(handler.headers))
            number = len(self.requests)
        answer = self.behave(request, number)
        status, headers, body = 200, {}, answer
        if answer == "close":
            handler.connection.close()
            return
        if isinstance(answer, tuple) and answer[0] == "slow":
            time.sleep(answer[1])
            body = completion(verdict(request))
        elif isinstance(answer, tuple):
            status, headers, body = answer
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        try:
            handler.send_response(status)
            for name, value in headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)
        except OSError:
            pass  # the client has gone


@contextmanager
def serving(behave):
    server = Server(behave)
    thread = threading.Thread(target=server.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
