"""The guarded client against a real TLS server, and against addresses that must not be asked."""

from __future__ import annotations

import socket
import threading

import pytest
from tls_server import serve_tls

from provenance.client import GuardedClient, RemotePolicy, is_public
from provenance.errors import FetchError

HOST = "files.example.org"
PUBLIC = "93.184.215.14"


def respond(handler, body=b"hello", status=200, **headers):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


class Routes:
    """What the server answers, by path."""

    def __init__(self):
        self.stop = threading.Event()

    def __call__(self, handler):
        getattr(self, "on_" + handler.path.partition("?")[0].strip("/"))(handler)

    def on_plain(self, handler):
        respond(handler, content_type="image/png; charset=x")

    def on_big(self, handler):
        respond(handler, b"x" * 5000)

    def on_endless(self, handler):
        handler.send_response(200)
        handler.end_headers()
        while not self.stop.is_set():
            handler.wfile.write(b"x" * 1000)

    def on_short(self, handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"only this")

    def on_packed(self, handler):
        respond(handler, b"\x1f\x8b" + b"0" * 20, content_encoding="gzip")

    def on_drip(self, handler):
        handler.send_response(200)
        handler.end_headers()
        while not self.stop.wait(0.05):
            handler.wfile.write(b".")
            handler.wfile.flush()

    def on_dripped_head(self, handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while not self.stop.wait(0.05):
            handler.wfile.write(b".")
            handler.wfile.flush()

    def on_nonsense(self, handler):
        handler.wfile.write(b"\x00\x01\x02 not http\r\n\r\n")

    def on_hop(self, handler):
        respond(handler, b"", 302, location="/plain")

    def on_loop(self, handler):
        respond(handler, b"", 302, location="/loop")

    def on_inside(self, handler):
        respond(handler, b"", 307, location="https://inside.example.org/plain")

    def on_numbers(self, handler):
        respond(handler, b"", 307, location="https://127.0.0.1/plain")

    def on_unsafe(self, handler):
        respond(handler, b"", 301, location="http://files.example.org/plain")

    def on_elsewhere(self, handler):
        respond(handler, b"", 301, location="https://other.example.org/plain")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    routes = Routes()
    with serve_tls(tmp_path_factory.mktemp("tls"), routes) as one:
        yield one
        routes.stop.set()


NAMES = {HOST: [PUBLIC], "inside.example.org": ["10.1.2.3"], "other.example.org": [PUBLIC]}


class Asked:
    """Resolver and transport of one client: the names are made up, the connection is real."""

    def __init__(self, server, names=NAMES):
        self.server = server
        self.names = names
        self.connected = []

    def resolve(self, host, port):
        return self.names.get(host, [host])

    def connect(self, address, port, timeout_s):
        self.connected.append((address, port))
        return socket.create_connection(("127.0.0.1", self.server.port), timeout_s)

    def client(self, **policy):
        policy = {"max_bytes": 4000, "timeout_s": 30, **policy}
        return GuardedClient(
            RemotePolicy(**policy),
            resolve=self.resolve,
            connect=self.connect,
            tls=self.server.trust,
        )


def url(path, host=HOST):
    return f"https://{host}/{path}"


def test_a_public_https_address_is_fetched_from_the_address_that_was_looked_at(server):
    asked = Asked(server)
    answer = asked.client().get(url("plain?q=1"), headers={"Authorization": "Bearer k"})
    assert (answer.status, answer.body, answer.media_type) == (200, b"hello", "image/png")
    assert asked.connected == [(PUBLIC, 443)]
    line, headers = server.seen[-1]
    assert line == "GET /plain?q=1 HTTP/1.1"
    assert headers["Host"] == HOST
    assert headers["Authorization"] == "Bearer k"


def test_a_name_that_changes_its_mind_is_asked_once(server):
    """DNS rebinding: the second answer would be this machine."""
    answers = [[PUBLIC], ["127.0.0.1"]]
    asked = Asked(server)
    asked.resolve = lambda host, port: answers.pop(0)
    assert asked.client().get(url("plain")).status == 200
    assert asked.connected == [(PUBLIC, 443)]
    assert answers == [["127.0.0.1"]]


def test_redirects_are_followed_and_guarded_like_the_first(server):
    asked = Asked(server)
    answer = asked.client().get(url("hop"))
    assert (answer.body, answer.url) == (b"hello", url("plain"))
    for path in ("inside", "numbers", "unsafe", "loop"):
        with pytest.raises(FetchError):
            asked.client().get(url(path))
    assert {address for address, _ in asked.connected} == {PUBLIC}


def test_a_redirect_elsewhere_carries_no_key(server):
    Asked(server).client().get(url("hop"), headers={"Authorization": "Bearer k"})
    assert server.seen[-1][1]["Authorization"] == "Bearer k"
    with pytest.raises(FetchError, match="certificate of other"):
        Asked(server).client().get(url("elsewhere"), headers={"Authorization": "Bearer k"})


def test_a_post_is_sent_and_not_redirected(server):
    assert Asked(server).client().post(url("plain"), b"body").body == b"hello"
    assert server.seen[-1][0].startswith("POST")
    assert Asked(server).client().post(url("hop"), b"body").status == 302


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("big", "5000 bytes; the limit is 4000"),
        ("endless", "more than 4000"),
        ("short", "broke off|IncompleteRead"),
        ("packed", "compressed"),
        ("nonsense", "HTTP server"),
    ],
)
def test_an_answer_that_cannot_be_used_is_an_error_of_ours(server, path, told):
    with pytest.raises(FetchError, match=told):
        Asked(server).client().get(url(path))


@pytest.mark.parametrize("path", ["drip", "dripped_head"])
def test_a_server_that_never_ends_is_left(server, path):
    with pytest.raises(FetchError, match=r"within 0\.5 s"):
        Asked(server).client(timeout_s=0.5, max_bytes=10**9).get(url(path))


def test_a_name_that_is_not_resolved_in_time_is_left(server):
    asked = Asked(server)
    release = threading.Event()
    asked.resolve = lambda host, port: release.wait(60) and [PUBLIC]
    with pytest.raises(FetchError, match="not resolved in time"):
        asked.client(timeout_s=0.2).get(url("plain"))
    release.set()


def test_an_unknown_certificate_is_not_accepted(server):
    asked = Asked(server)
    client = GuardedClient(RemotePolicy(100), resolve=asked.resolve, connect=asked.connect)
    with pytest.raises(FetchError, match=r"certificate of files.example.org.*SSL_CERT_FILE"):
        client.get(url("plain"))


@pytest.mark.parametrize(
    "bad",
    [
        "http://files.example.org/plain",
        "ftp://files.example.org/",
        "file:///etc/passwd",
        "https://user:secret@files.example.org/",
        "https://user@files.example.org/",
        "https://",
        "https:///x",
        "//files.example.org",
        "https://files.example.org:99999/",
        "https://[::1/",
        "https://files.example.org/a b",
        "https://files.example.org/\r\nHost: x",
        "https://f\u00efles.example.org/",
        "https://files.example.org/" + "x" * 5000,
        "nonsense",
        "",
    ],
)
def test_other_addresses_are_refused_before_anything_is_asked(server, bad):
    asked = Asked(server)
    with pytest.raises(FetchError) as caught:
        asked.client().get(bad)
    assert "secret" not in str(caught.value)
    assert asked.connected == []


def test_ports_can_be_limited(server):
    asked = Asked(server)
    client = asked.client(ports=frozenset({443}))
    assert client.get(url("plain")).status == 200
    with pytest.raises(FetchError, match="port"):
        client.get("https://files.example.org:8443/plain")


PRIVATE = [
    "127.0.0.1",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "198.18.0.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "fc00::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2001:0:4136:e378:8000:63bf:80ff:fffe",
    "4000::1",
    "",
    "localhost",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_that_is_not_public_is_not_asked(server, address):
    assert not is_public(address)
    for names in ({HOST: [address]}, {HOST: [PUBLIC, address]}):
        asked = Asked(server, names)
        with pytest.raises(FetchError, match="public internet"):
            asked.client().get(url("plain"))
        assert asked.connected == []


@pytest.mark.parametrize("address", [PUBLIC, "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_a_public_address_is(address):
    assert is_public(address)


def test_ones_own_services_are_asked_when_that_is_said(server):
    client = GuardedClient(RemotePolicy(100, allow_private=True), tls=server.trust)
    assert client.get(f"https://127.0.0.1:{server.port}/plain").body == b"hello"
    asked = Asked(server)
    with pytest.raises(FetchError, match="only https"):
        asked.client(allow_private=True).get("http://files.example.org/plain")
    assert asked.connected == []


def test_nobody_there_is_one_line(server):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        client = GuardedClient(RemotePolicy(100, allow_private=True))
        with pytest.raises(FetchError, match="cannot be reached"):
            client.get(f"https://127.0.0.1:{port}/")
        with pytest.raises(FetchError, match="no address"):
            client.get("https://name.invalid/")
