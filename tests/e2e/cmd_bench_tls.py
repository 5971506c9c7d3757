"""weir bench over TLS: whole handshakes and resumed ones, what they settle, and those that fail."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from bench_support import text
from cmd_support import BACKEND, SCRATCH, SLOW, WEIR, Server, Skipped, folder, main, test, weir

CERTS = os.path.join(SCRATCH, "certs")
CA, CERT, KEY = (os.path.join(CERTS, name) for name in ("ca.pem", "server.pem", "server.key"))
os.mkdir(CERTS)
os.environ["XDG_STATE_HOME"] = os.path.join(SCRATCH, "state")


def certificates():
    ours = ("--ca", CA, "--ca-key", os.path.join(CERTS, "ca.key"))
    weir("cert", "ca", "--name", "Test", "--out", os.path.join(CERTS, "ca"))
    weir("cert", "new", *ours, "--out", os.path.join(CERTS, "server"), "localhost", "127.0.0.1")
    weir("cert", "new", *ours, "--client", "--out", os.path.join(CERTS, "me"), "somebody")


certificates()


def bench(*arguments, code=0, trust=True):
    path = os.path.join(SCRATCH, "result.json")
    if os.path.exists(path):
        os.unlink(path)
    given = ("--cacert", CA) if trust else ()
    out, err = weir("bench", *arguments, *given, "--backend", BACKEND, "-t", "1", "--json", path,
                    code=code)
    if not os.path.exists(path):
        return None, out, err
    with open(path) as file:
        document = json.load(file)
    return document["runs"][document["chosen"]], out, err


def served(*arguments, cert=CERT):
    server = Server("--loops", "1", "--backend", BACKEND, "--cert", cert, "--key", KEY, *arguments,
                    folder(index_html=b"hello"), listen="https://127.0.0.1:0")
    server.url = server.urls[0] + "/"
    server.named = server.url.replace("127.0.0.1", "localhost")
    return server


def clean(run, requests):
    assert run["counts"]["requests"] == requests and run["errors"]["all"] == 0, run
    assert run["counts"]["status_2xx"] in (0, requests), run


@test
def each_version_is_settled():
    server = served()
    for version, cipher in ("1.2", "TLS_ECDHE_ECDSA_WITH_"), ("1.3", "TLS_"):
        run, out, _ = bench("http", "-n", "200", "-c", "4", "--tls-min", version, "--tls-max",
                            version, server.named)
        clean(run, 200)
        tls = run["tls"]
        assert tls["full"] == 4 and tls["resumed"] == 0, tls
        assert len(tls["settled"]) == 1, tls
        row = tls["settled"][0]
        assert row["version"] == version and row["cipher"].startswith(cipher), row
        assert row["alpn"] == "http/1.1" and row["group"] and row["handshakes"] == 4, row
        assert f"TLS {version}, {row['cipher']}" in out and "handshake" in out, out
        assert run["handshake"]["count"] == run["connect"]["count"] == 4, run
    run, _, _ = bench("http", "-n", "10", "-c", "1", "http://127.0.0.1:1/", trust=False, code=69)
    assert run is None
    server.stop()


@test
def sessions_go_on_only_when_asked():
    """The first connections cannot, all the others do: fails when no session is gone on with."""
    server = served()
    for version in "1.2", "1.3":
        common = ("http", "-n", "100", "-c", "4", "--close", "--tls-max", version, server.url)
        run, _, _ = bench(*common)
        clean(run, 100)
        assert run["tls"]["full"] == 100 and run["counts"]["handshakes"] == 100, run["tls"]
        assert run["counts"]["resumed"] == 0 and run["handshake"]["count"] == 100
        run, out, _ = bench(*common, "--resume")
        clean(run, 100)
        assert run["tls"]["full"] == 4 and run["tls"]["resumed"] == 96, run["tls"]
        assert run["counts"]["resumed"] == 96 and run["counts"]["handshakes"] == 4, run["counts"]
        assert "96 of them resumed" in out and "handshakes a second" in out, out
    # Connections that are reset leave their sessions good.
    run, _, _ = bench("http", "-n", "50", "-c", "1", "--close", "--reset", "--resume", server.url)
    assert run["tls"]["full"] == 1, run["tls"]
    server.stop()


@test
def handshakes_are_told_of_everywhere():
    server = served()
    lines, hgrm = (os.path.join(SCRATCH, name) for name in ("lines", "shakes.hgrm"))
    run, _, _ = bench("http", "-d", f"{1 * SLOW}s", "-i", f"{200 * SLOW}ms", "-c", "2", "--close", "--json-stream",
                      lines, "--hgrm-handshake", hgrm, server.url)
    rows = [json.loads(line) for line in open(lines)]
    assert len(rows) >= 2, rows
    # In an interval there may be none, on a busy machine.
    assert sum(row["counts"]["handshakes"] for row in rows) > 0, rows
    assert sum((row["handshake"] or {"count": 0})["count"] for row in rows) > 0, rows
    total = int(re.search(r"Total count\s*=\s*(\d+)", open(hgrm).read())[1])
    assert total == run["handshake"]["count"] > 0
    assert any(interval["handshake"] for interval in run["intervals"])
    # Two documents are compared by them too.
    other = os.path.join(SCRATCH, "other.json")
    shutil.copy(os.path.join(SCRATCH, "result.json"), other)
    out, _ = weir("bench", "compare", other, os.path.join(SCRATCH, "result.json"))
    assert "handshakes/s" in out and "handshake p99" in out, out
    server.stop()


@test
def who_is_not_trusted():
    server = served()
    run, _, err = bench("http", "-n", "10", "-c", "2", server.url, trust=False, code=69)
    assert run is None and "certificate was not accepted" in err and "--cacert" in err, err
    _, _, err = bench("http", "-n", "10", "--server-name", "other.example", server.url, code=69)
    assert "certificate was not accepted" in err and "hostname mismatch" in err, err
    # Turning it off is logged.
    run, _, err = bench("http", "-n", "10", "-c", "2", "-k", server.url, trust=False)
    clean(run, 10)
    assert "not verified" in err, err
    # With a number of requests those that could not connect are told of.
    run, out, _ = bench("http", "-n", "10", "--close", "-c", "2", server.url, trust=False, code=69)
    assert run["errors"]["certificate"] >= 10 == run["errors"]["all"] and run["tls"] is None, run
    assert "certificate not accepted" in out, out
    server.stop()


@test
def keys_are_pinned():
    server = served()
    der = subprocess.run(f"openssl x509 -in {CERT} -pubkey -noout | openssl pkey -pubin -outform der"
                         " | openssl sha256 -binary | base64", shell=True, check=True,
                         capture_output=True, text=True).stdout.strip()
    run, _, _ = bench("http", "-n", "5", "-c", "1", "--pin", "sha256//" + der, server.url)
    clean(run, 5)
    other = "sha256//" + "A" * 43 + "="
    _, _, err = bench("http", "-n", "5", "-c", "1", "--pin", other, server.url, code=69)
    assert "pinned" in err, err
    _, _, err = bench("http", "-n", "5", "-k", "--pin", other, server.url, trust=False, code=69)
    assert "pinned" in err, err
    bench("http", "-n", "5", "--pin", "sha256//x", server.url, code=78)
    server.stop()


@test
def servers_want_certificates_too():
    server = served("--client-ca", CA)
    mine = ("--cert", os.path.join(CERTS, "me.pem"), "--key", os.path.join(CERTS, "me.key"))
    for more in (), ("--close", "--resume"):
        run, _, _ = bench("http", "-n", "40", "-c", "2", *more, *mine, server.url)
        clean(run, 40)
        assert run["tls"]["full"] == 2 and run["tls"]["resumed"] == (38 if more else 0), run["tls"]
    # In TLS 1.2 it is refused within the handshake.
    run, out, _ = bench("http", "-n", "6", "-c", "2", "--close", "--tls-max", "1.2", server.url,
                        code=69)
    assert run["errors"]["handshake"] == 6 == run["errors"]["all"], run["errors"]
    assert "TLS handshake failed" in out, out
    # In TLS 1.3 behind it, for the client.
    run, _, _ = bench("http", "-n", "6", "-c", "2", "--close", server.url, code=69)
    assert run["errors"]["tls"] + run["errors"]["reset"] + run["errors"]["cut"] == 6, run["errors"]
    server.stop()


class Wire:
    """A port behind which something else happens than TLS."""

    def __init__(self, act):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self.listener.getsockname()[1]}/"
        self.kept = []
        threading.Thread(target=self.accept, args=(act,), daemon=True).start()

    def accept(self, act):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.kept.append(client)
            threading.Thread(target=act, args=(client,), daemon=True).start()

    def close(self):
        self.listener.close()


@test
def those_who_speak_no_tls():
    def plain(client):
        client.recv(4096)
        client.sendall(text())
        client.close()

    def leave(client):
        client.recv(4096)
        client.close()

    def silence(client):
        client.recv(4096)
        time.sleep(20)

    for act, kind, more in ((plain, "handshake", ()), (leave, "handshake", ()),
                            (silence, "handshake_timeout", ("--timeout", "300ms"))):
        wire = Wire(act)
        run, _, _ = bench("http", "-n", "3", "-c", "1", "--close", *more, wire.url, code=69)
        assert run["errors"][kind] == 3 == run["errors"]["all"], (kind, run["errors"])
        wire.close()


def pump(source, sink):
    try:
        while data := source.recv(1 << 16):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@test
def a_handshake_is_no_part_of_connecting():
    """Behind a way on which the first bytes are held for a while, the connection is there at once."""
    server = served()

    def hold(client):
        time.sleep(0.3)
        far = socket.create_connection(("127.0.0.1", int(server.urls[0].rsplit(":", 1)[1])))
        threading.Thread(target=pump, args=(far, client), daemon=True).start()
        pump(client, far)

    wire = Wire(hold)
    run, _, _ = bench("http", "-n", "6", "-c", "3", "--close", wire.url)
    clean(run, 6)
    assert run["handshake"]["min_ns"] >= 299e6, run["handshake"]
    assert run["connect"]["min_ns"] < run["handshake"]["min_ns"], (run["connect"], run["handshake"])
    wire.close()
    server.stop()


@test
def options_fit_the_addresses():
    for arguments, part in (
            (("http", "-k", "http://127.0.0.1/"), "no address is one"),
            (("http", "--key", KEY, "https://127.0.0.1/"), "--cert"),
            (("http", "https://a.example/", "https://b.example/"), "--server-name"),
            (("http", "--alpn", ",", "https://127.0.0.1/"), "--alpn"),
            (("tcp", "stream", "--resume", "tls://127.0.0.1:1"), "--resume"),
            (("http", "--unix", "/tmp/x", "https://localhost/"), "without TLS"),
            (("serve", "--listen", "tls://127.0.0.1:0"), "needs a certificate"),
            (("serve", "--tls"), "--listen tls://"),
            (("serve", "--tls", "--cert", CERT, "--listen", "tls://127.0.0.1:0"), "not both")):
        _, err = weir("bench", *arguments, code=64 if "--unix" not in arguments else None)
        assert part in err, (arguments, err)
    _, err = weir("bench", "http", "--cacert", "/nowhere.pem", "https://127.0.0.1/", code=66)
    assert "/nowhere.pem" in err, err


@test
def bytes_and_streams():
    server = subprocess.Popen([WEIR, "bench", "serve", "--backend", BACKEND, "--listen",
                               "tls://127.0.0.1:0", "--cert", CERT, "--key", KEY],
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = re.search(r"tls://\S+", server.stderr.readline())[0]
    run, _, _ = bench("tcp", "rr", "-n", "200", "-c", "3", "-p", "4", "-s", "20000", url)
    clean(run, 200)
    assert run["counts"]["received_bytes"] == 200 * 20000
    run, _, _ = bench("tcp", "crr", "-n", "100", "-c", "2", "--resume", url)
    clean(run, 100)
    assert run["tls"]["full"] == 2 and run["tls"]["resumed"] == 98, run["tls"]
    run, _, _ = bench("tcp", "stream", "--bytes", "20M", "-P", "2", url)
    assert run["counts"]["sent_bytes"] == run["server_bytes"] == 40 << 20, run
    run, _, _ = bench("tcp", "stream", "--reverse", "--bytes", "20M", url)
    assert run["counts"]["received_bytes"] == 20 << 20 and run["errors"]["all"] == 0, run
    run, _, _ = bench("conns", "-c", "50", "--prove", "-d", "200ms", url)
    assert run["open_conns"] == 50 and run["tls"]["full"] == 50 and run["errors"]["all"] == 0, run
    run, _, _ = bench("raw", "-b", "ping\\n", "-e", "\\n", "-n", "20", "-c", "1", url)
    clean(run, 20)
    server.send_signal(signal.SIGINT)
    assert server.wait(20 * SLOW) == 0


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def others_are_up(process, port):
    end = time.monotonic() + 20 * SLOW
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"it does not listen: {process.poll()}")


@test
def against_openssl():
    port = free_port()
    server = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", CERT,
                               "-key", KEY, "-www", "-quiet"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
    try:
        others_are_up(server, port)
        for version in "1.2", "1.3":
            run, _, _ = bench("http", "-n", "20", "-c", "1", "--close", "--resume", "--tls-max",
                              version, f"https://127.0.0.1:{port}/")
            assert run["tls"]["full"] == 1 and run["tls"]["resumed"] == 19, (version, run["tls"])
            assert run["tls"]["settled"][0]["version"] == version
    finally:
        server.kill()
        server.wait()


@test
def against_nginx():
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.path.exists(nginx):
        raise Skipped("no nginx")
    port, at = free_port(), os.path.join(SCRATCH, "nginx")
    os.mkdir(at)
    with open(os.path.join(at, "conf"), "w") as file:
        file.write(f"daemon off; master_process off; pid {at}/pid; error_log {at}/log;\n"
                   "events {}\nhttp { access_log off; "
                   + "".join(f"{what}_temp_path {at}/{what}; " for what in
                             ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
                   + f"server {{ listen 127.0.0.1:{port} ssl; ssl_certificate {CERT}; "
                   f"ssl_certificate_key {KEY}; ssl_session_cache shared:s:1m; "
                   "location / { return 200 hello; } } }\n")
    server = subprocess.Popen([nginx, "-c", os.path.join(at, "conf"), "-e", os.path.join(at, "log")],
                              stderr=subprocess.DEVNULL)
    try:
        others_are_up(server, port)
        for version in "1.2", "1.3":
            run, _, _ = bench("http", "-n", "100", "-c", "2", "--close", "--resume", "--tls-max",
                              version, f"https://localhost:{port}/")
            clean(run, 100)
            assert run["tls"]["full"] == 2 and run["tls"]["resumed"] == 98, (version, run["tls"])
        run, _, _ = bench("http", "-n", "500", "-c", "4", f"https://127.0.0.1:{port}/")
        clean(run, 500)
    finally:
        server.terminate()
        server.wait()


main()
