"""A real HTTP receiver for webhooks: notes every request, answers as the test says."""
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from llmlab_server import wait_for


class Request:
    def __init__(self, path, headers, body):
        self.path, self.headers, self.body = path, headers, body

    @property
    def delivery(self):
        return self.headers["X-LLMLab-Delivery"]


def self_signed(folder):
    """A certificate that nobody trusts, with its key, in one file."""
    key, both = folder / "key.pem", folder / "both.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                    "-out", both, "-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
                   check=True, capture_output=True)
    both.write_text(both.read_text() + key.read_text())
    return both


class Receiver:
    """answer(request) gives (status, headers, body); body may be an iterator of pieces that is sent without a length."""

    def __init__(self, answer=lambda request: (200, {}, b""), certificate=None):
        self.answer = answer
        self.scheme = "https" if certificate else "http"
        self.requests = []
        self.connections = 0
        self.cut = []  # pieces that were sent when the sender had gone
        self.now = self.most = 0
        self.lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                receiver._post(self)

            def do_GET(self):
                receiver.requests.append(Request(self.path, self.headers, None))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass

        class HTTPServer(ThreadingHTTPServer):
            daemon_threads = True

            def process_request(self, request, client_address):
                receiver.connections += 1
                super().process_request(request, client_address)

            def handle_error(self, request, client_address):
                pass  # the sender may go at any time

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True, do_handshake_on_connect=False)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join(10)

    def url(self, path="/hook"):
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def _post(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", "0")))
        request = Request(handler.path, handler.headers, body)
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.requests.append(request)
        try:
            self._reply(handler, *self.answer(request))
        finally:
            with self.lock:
                self.now -= 1

    def _reply(self, handler, status, headers, body):
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if isinstance(body, bytes):
            handler.send_header("Content-Length", str(len(body)))
            handler.end_headers()
            handler.wfile.write(body)
            return
        handler.end_headers()
        handler.close_connection = True
        sent = 0
        try:
            for piece in body:
                handler.wfile.write(piece)
                sent += 1
        except OSError:
            self.cut.append(sent)

    def wait(self, count, seconds=30):
        wait_for(lambda: len(self.requests) >= count, f"{count} requests, not {len(self.requests)}", seconds)
        return self.requests
