"""weir serve over HTTPS: certificates, real clients, and those who do not speak it."""
import hashlib
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import time

from cmd_support import SCRATCH, SLOW, WEIR, Server, Skipped, folder, main, test, wait_until, weir

os.environ["XDG_STATE_HOME"] = os.path.join(SCRATCH, "state")
STATE = os.path.join(SCRATCH, "state", "weir")
CA = os.path.join(STATE, "ca.pem")
BACKEND = os.environ.get("WEIR_BACKEND", "auto")


def run(*command, code=0, data=None):
    done = subprocess.run(command, capture_output=True, timeout=60 * SLOW, input=data)
    assert code is None or done.returncode == code, \
        f"{command}: exit code {done.returncode}: {done.stderr.decode()[-500:]}"
    return done.stdout, done.stderr.decode()


def curl(server, path="/", *arguments, code=0):
    out, _ = run("curl", "-sS", "--max-time", "20", "--cacert", CA, *arguments,
                 f"https://localhost:{server.tls_port}{path}", code=code)
    return out


def served(*arguments, **options):
    server = Server("--backend", BACKEND, "--loops", "1", *arguments,
                    listen="https://127.0.0.1:0", **options)
    server.tls_port = int(server.urls[0].rsplit(":", 1)[1])
    server.port = server.tls_port
    return server


def context():
    made = ssl.create_default_context(cafile=CA)
    made.set_alpn_protocols(["http/1.1"])
    return made


def connected(server, **options):
    plain = server.connect(**options)
    return context().wrap_socket(plain, server_hostname="localhost")


@test
def a_certificate_is_made():
    server = served("--tls", folder(index_html=b"hello"))
    text = server.text()
    assert f"trust     {CA}" in text and "localhost" in text, text
    for name in "ca.key", "localhost.key":
        assert stat.S_IMODE(os.stat(os.path.join(STATE, name)).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(STATE).st_mode) == 0o700
    assert curl(server) == b"hello"
    server.stop()
    before = open(os.path.join(STATE, "localhost.pem")).read()
    again = served("--tls", folder())
    again.stop()
    assert before == open(os.path.join(STATE, "localhost.pem")).read(), "made anew"
    # A key that others can read is not used any more.
    os.chmod(os.path.join(STATE, "localhost.key"), 0o644)
    served("--tls", folder()).stop()
    assert before != open(os.path.join(STATE, "localhost.pem")).read()
    assert stat.S_IMODE(os.stat(os.path.join(STATE, "localhost.key")).st_mode) == 0o600
    # Nor is one of another certificate, as a crash between the two files leaves it.
    shutil.copy(os.path.join(STATE, "ca.key"), os.path.join(STATE, "localhost.key"))
    server = served("--tls", folder(index_html=b"hello"))
    assert curl(server) == b"hello"
    server.stop()


@test
def clients_and_versions():
    server = served("--tls", folder(index_html=b"hello"))
    for version in "1.2", "1.3":
        assert curl(server, "/", f"--tlsv{version}", "--tls-max", version) == b"hello"
    curl(server, "/", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0", code=35)
    curl(server, "/", "--cacert", "/dev/null", code=77)
    run("curl", "-sS", f"https://127.0.0.1:{server.tls_port}/", code=60)  # the system trusts it not
    assert b"200 OK" in curl(server, "/", "-I", "-H", "Connection: close")
    out, said = run("openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-CAfile", CA,
                    "-verify_return_error", "-verify_hostname", "localhost", "-alpn", "http/1.1",
                    "-ign_eof", data=b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b"hello" in out and b"ALPN protocol: http/1.1" in out, (out, said)
    assert b"Verify return code: 0 (ok)" in out
    if shutil.which("wrk"):
        out, _ = run("wrk", "-t1", "-c8", "-d1s", f"https://127.0.0.1:{server.tls_port}/")
        assert b"Socket errors" not in out and b"Requests/sec" in out, out
    server.stop()


@test
def only_tls_13():
    server = served("--tls", "--tls-min", "1.3", folder(index_html=b"hello"))
    curl(server, "/", "--tls-max", "1.2", code=35)
    assert curl(server) == b"hello"
    server.stop()


@test
def large_files_and_many_requests():
    data = os.urandom(1 << 20) * 20
    www = folder("large", data_bin=data, small_txt=b"small")
    server = served("--tls", www)
    out = curl(server, "/data.bin", "--limit-rate", "100M")
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()
    assert curl(server, "/data.bin", "-r", "5000000-5000099") == data[5000000:5000100]
    with connected(server) as client:
        client.settimeout(20 * SLOW)
        answers = client.makefile("rb")
        for _ in range(20):  # in trains, each request a record of its own
            for _ in range(100):
                client.sendall(b"GET /small.txt HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(100):
                assert answers.readline() == b"HTTP/1.1 200 OK\r\n"
                while answers.readline() != b"\r\n":
                    pass
                assert answers.read(5) == b"small"
    server.stop()


@test
def ends():
    """What the server does at the end of a stream, by close_notify and without."""
    server = served("--tls", folder(index_html=b"hello"))
    client = connected(server)
    client.settimeout(10 * SLOW)
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = b""
    while part := client.recv(1 << 16):  # an end without close_notify would be an error here
        got += part
    assert got.endswith(b"hello")
    client.close()
    cut = connected(server)
    cut.sendall(b"GET / HT")
    socket.socket(fileno=cut.detach()).close()  # no close_notify
    wait_until(lambda: server.stat("conns") <= 1, what="the end of a cut connection")
    assert curl(server) == b"hello"
    server.stop()


@test
def those_who_speak_no_tls():
    server = served("--tls", folder(index_html=b"hello"), "--header-timeout", "10s")
    for noise in (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", os.urandom(3000), b"\x16\x03\x01\xff\xff" * 50,
                  b"\x80" * 100, b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"):
        with server.connect() as client:
            client.sendall(noise)
            client.settimeout(10 * SLOW)
            try:
                while client.recv(4096):
                    pass
            except ConnectionResetError:
                pass
    silent = [server.connect() for _ in range(50)]
    slow = [server.connect() for _ in range(50)]
    for client in slow:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    assert curl(server) == b"hello"
    for client in silent + slow:
        client.close()
    server.stop()
    assert "error" not in server.text().lower(), server.text()


@test
def a_slow_handshake_has_a_deadline():
    if BACKEND != "epoll":
        raise Skipped("one back end is enough for ten seconds")
    server = served("--tls", folder(index_html=b"hello"))
    began = time.monotonic()
    with server.connect(timeout=30) as client:
        client.sendall(b"\x16\x03\x01\x02\x00")
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            pass
    assert 5 < time.monotonic() - began < 20 * SLOW
    server.stop()


@test
def several_addresses():
    server = Server("--backend", BACKEND, "--tls", "--listen", "http://127.0.0.1:0",
                    folder(index_html=b"hello"), listen="https://127.0.0.1:0")
    server.tls_port = int(server.urls[0].rsplit(":", 1)[1])
    plain = int(server.urls[1].rsplit(":", 1)[1])
    assert curl(server) == b"hello"
    out, _ = run("curl", "-sS", f"http://127.0.0.1:{plain}/")
    assert out == b"hello"
    server.stop()


@test
def plain_addresses_redirect():
    server = Server("--backend", BACKEND, "--tls", "--redirect", "--hsts", "30",
                    "--listen", "https://127.0.0.1:0", folder(index_html=b"hello"))
    assert server.urls[0].startswith("https://"), server.urls
    server.tls_port = int(server.urls[0].rsplit(":", 1)[1])
    plain = int(server.urls[1].rsplit(":", 1)[1])
    at = f"http://localhost:{plain}"
    out, _ = run("curl", "-sSi", f"{at}/a/b?c=%20d")
    assert b"308 Permanent" in out and f"https://localhost:{server.tls_port}/a/b?c=%20d\r\n".encode() \
        in out, out
    assert b"Strict-Transport" not in out
    out, _ = run("curl", "-sSiL", "--cacert", CA, "-d", "body", f"{at}/")  # a POST stays one
    assert b"405 Method" in out, out
    assert run("curl", "-sSL", "--cacert", CA, f"{at}/")[0] == b"hello"
    assert b"Strict-Transport-Security: max-age=2592000\r\n" in curl(server, "/", "-I")
    for host in "a/b", "a b", "a@b", "x" * 300:
        out, _ = run("curl", "-sSi", "-H", f"Host: {host}", f"{at}/")
        assert b" 400 " in out.split(b"\r\n")[0] and b"Location" not in out, out
    server.stop()


@test
def in_shape_acceptor():
    server = Server("--backend", BACKEND, "--tls", "--shape", "acceptor", "--loops", "2",
                    folder(index_html=b"hello"), listen="https://127.0.0.1:0")
    server.tls_port = int(server.urls[0].rsplit(":", 1)[1])
    for _ in range(4):
        assert curl(server) == b"hello"
    server.stop()


@test
def beyond_the_limit():
    """Who comes when there is no room is reset, and gets nothing in the clear."""
    server = served("--tls", folder(index_html=b"hello"), "--max-conns", "2")
    held = [connected(server), connected(server)]
    try:
        with server.connect(timeout=10) as third:
            assert third.recv(100) == b""
    except ConnectionResetError:
        pass
    for client in held:
        client.close()
    wait_until(lambda: run("curl", "-sS", "--cacert", CA, f"https://localhost:{server.tls_port}/",
                           code=None)[0] == b"hello", what="room again")
    server.stop()


def issued(name, *arguments):
    """A certificate of the local CA, by openssl."""
    pem, key = os.path.join(SCRATCH, name + ".pem"), os.path.join(SCRATCH, name + ".key")
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", key, "-out", pem + ".new", "-days", "2", "-subj", f"/CN={name}",
        "-CA", CA, "-CAkey", os.path.join(STATE, "ca.key"),
        "-addext", "basicConstraints=critical,CA:FALSE", *arguments)
    os.rename(pem + ".new", pem)
    return pem, key


@test
def certificates_are_loaded_anew():
    pem, key = issued("localhost", "-addext", "subjectAltName=DNS:localhost")
    www = folder(index_html=b"hello")
    server = served("--verbose", "--cert", pem, "--key", key, www)

    def serial():
        with connected(server) as client:
            return client.getpeercert()["serialNumber"]
    first = serial()
    kept = connected(server)
    issued("localhost", "-addext", "subjectAltName=DNS:localhost")
    wait_until(lambda: serial() != first, what="the new certificate, by itself")
    second = serial()
    issued("localhost", "-addext", "subjectAltName=DNS:localhost")
    wait_until(lambda: serial() != second, what="the third one, too")
    second = serial()
    os.rename(key, key + ".away")
    server.signal(1)
    wait_until(lambda: "former certificates stay" in server.text(), what="a word about it")
    assert serial() == second
    os.rename(key + ".away", key)
    kept.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = b""
    while part := kept.recv(1 << 16):
        got += part
    assert got.endswith(b"hello")
    server.stop()


@test
def only_clients_with_certificates():
    pem, key = issued("localhost", "-addext", "extendedKeyUsage=clientAuth",
                      "-addext", "subjectAltName=DNS:localhost")
    server = served("--tls", "--client-ca", CA, folder(index_html=b"hello"))
    assert curl(server, "/", "--cert", pem, "--key", key) == b"hello"
    curl(server, "/", "--tls-max", "1.2", code=35)
    curl(server, "/", code=56)
    server.stop()


@test
def certificates_of_ones_own():
    own = os.path.join(SCRATCH, "own")
    os.makedirs(own, exist_ok=True)

    def cert(*arguments, code=0):
        done = subprocess.run([WEIR, "cert", *arguments], cwd=own, capture_output=True, text=True,
                              timeout=30)
        assert done.returncode == code, (arguments, done.returncode, done.stderr)
        return done.stdout + done.stderr

    def path(name):
        return os.path.join(own, name)

    if not os.path.exists(path("ca.pem")):
        assert "ca.pem and ca.key" in cert("ca", "--name", "Our CA", "localhost", "127.0.0.1")
        cert("new", "localhost", "127.0.0.1")
    assert stat.S_IMODE(os.stat(path("localhost.key")).st_mode) == 0o600
    assert "there already" in cert("new", "localhost", code=73)
    said = cert("show", "localhost.pem", "ca.pem")
    assert "names    localhost 127.0.0.1" in said and re.search("(89|90) days more", said), said
    assert "CN=Our CA" in said and "may issue others" in said, said
    assert "lasts" in cert("check", "localhost.pem", "ca.pem")
    assert "ends soon" in cert("check", "--days", "100", "localhost.pem", code=1)
    server = served("--cert", path("localhost.pem"), "--key", path("localhost.key"),
                    folder(index_html=b"hello"))
    assert server.text().count("incomplete") == 0, server.text()
    url = f"https://localhost:{server.tls_port}/"
    assert run("curl", "-sS", "--cacert", path("ca.pem"), url)[0] == b"hello"
    cert("renew", "localhost.pem")
    time.sleep(1.5)
    assert run("curl", "-sS", "--cacert", path("ca.pem"), url)[0] == b"hello"
    server.stop()
    cert("new", "other.example", "--out", "other")  # for which that CA may not issue
    run("openssl", "verify", "-CAfile", path("ca.pem"), path("other.pem"), code=2)
    for name in "other.pem", "other.key":
        os.remove(path(name))
    cert("new", "a b", code=73)
    cert("new", code=64)
    cert("burn", "localhost.pem", code=64)
    cert("show", "nothing.pem", code=66)


def answer(pem, as_file=None):
    """What the local CA says of a certificate, by openssl ocsp: a file beside it."""
    out, _ = run("openssl", "x509", "-in", pem, "-noout", "-serial")
    serial = out.decode().strip().split("=")[1]
    index, asked, said = pem + ".index", pem + ".asked", as_file or pem + ".ocsp"
    with open(index, "w") as file:
        file.write(f"V\t{time.strftime('%y', time.gmtime(time.time() + 9e8))}0101000000Z\t\t"
                   f"{serial}\tunknown\t/CN=x\n")
    run("openssl", "ocsp", "-issuer", CA, "-cert", pem, "-no_nonce", "-reqout", asked)
    run("openssl", "ocsp", "-index", index, "-CA", CA, "-rsigner", CA, "-rkey",
        os.path.join(STATE, "ca.key"), "-reqin", asked, "-respout", said + ".new", "-ndays", "2")
    os.rename(said + ".new", said)
    return said


@test
def answers_are_stapled():
    pem, key = issued("stapled", "-addext", "subjectAltName=DNS:localhost")
    with open(pem, "ab") as chain, open(CA, "rb") as ca:
        chain.write(ca.read())
    said = answer(os.path.join(STATE, "localhost.pem"), pem + ".ocsp")  # about another one
    server = served("--verbose", "--cert", pem, "--key", key, "--ocsp", said, folder(index_html=b"hello"))

    def status():
        out, _ = run("openssl", "s_client", "-connect", f"127.0.0.1:{server.tls_port}", "-CAfile", CA,
                     "-status", data=b"")
        return out
    wait_until(lambda: b"OCSP response: no response sent" in status(), what="no wrong answer")
    assert server.text().count("about another certificate: no OCSP answer is stapled") == 1, server.text()
    answer(pem)
    wait_until(lambda: b"OCSP Response Status: successful" in status(), what="the new one, by itself")
    assert b"Cert Status: good" in status()
    assert curl(server, "/", "--cert-status") == b"hello"
    os.remove(said)
    server.signal(1)
    wait_until(lambda: b"no response sent" in status(), what="none behind HUP")
    server.stop()


@test
def sessions_go_on_at_another_server():
    keys = os.path.join(SCRATCH, "tickets")

    def write(data):
        with open(os.open(keys + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(data)
        os.rename(keys + ".new", keys)
    first, second = os.urandom(80), os.urandom(80)
    write(first)
    www = folder(index_html=b"hello")
    servers = [served("--tls", "--verbose", "--ticket-keys", keys, www) for _ in range(2)]

    def reused(server, made, session):
        with made.wrap_socket(server.connect(), server_hostname="localhost", session=session) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            while client.recv(1 << 16):
                pass
            return client.session_reused, client.session
    for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
        write(first)
        for server in servers:
            server.signal(1)
        made = context()
        made.minimum_version = made.maximum_version = version
        wait_until(lambda: reused(servers[1], made, reused(servers[0], made, None)[1])[0],
                   what="a session of the other server")
        _, session = reused(servers[0], made, None)
        write(second + first)  # they see that it has changed
        newer = [None]

        def renewed():
            newer[0] = reused(servers[0], made, None)[1]
            return reused(servers[1], made, session)[0] and reused(servers[1], made, newer[0])[0]
        wait_until(renewed, what="a session sealed with the first key, and the second one's too")
        write(second)
        wait_until(lambda: not reused(servers[1], made, session)[0], what="the end of the former key")
    for server in servers:
        server.stop()


@test
def handshakes_have_a_rate():
    server = served("--tls", "--handshake-rate", "1", folder(index_html=b"hello"))
    before = connected(server)
    crowd = [server.connect() for _ in range(12)]
    for client in crowd:
        client.sendall(b"\x16\x03\x01\x00\x07\x01\x00\x00\x03")  # a part of one has no place
    time.sleep(0.2)
    assert "were refused" not in server.text()
    for client in crowd:
        client.sendall(b"\x03\x03\x00")
    wait_until(lambda: "were refused so far" in server.text(), what="a word of those refused")
    before.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    got = b""
    while part := before.recv(1 << 16):
        got += part
    assert got.endswith(b"hello")
    for client in crowd:
        client.close()
    assert curl(server) == b"hello"
    server.stop()


@test
def handshakes_on_the_pool():
    server = served("--tls", "--handshake-pool", folder(index_html=b"hello"))
    for version in "1.2", "1.3":
        for _ in range(3):
            assert curl(server, "/", f"--tlsv{version}", "--tls-max", version) == b"hello"
    curl(server, "/", "--tls-max", "1.1", "--ciphers", "ALL:@SECLEVEL=0", code=35)
    if shutil.which("wrk"):  # a handshake for each request
        out, _ = run("wrk", "-t1", "-c8", "-d1s", "-H", "Connection: close",
                     f"https://127.0.0.1:{server.tls_port}/")
        assert b"Requests/sec" in out, out
    half = [server.connect() for _ in range(20)]
    for client in half:
        client.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x40\x00\x03")
        client.close()
    assert curl(server) == b"hello"
    server.stop()


@test
def what_cannot_be():
    pem, key = os.path.join(STATE, "localhost.pem"), os.path.join(STATE, "localhost.key")
    other = os.path.join(STATE, "ca.key")
    listen = ("--listen", "https://127.0.0.1:0")

    def refused(*arguments, code, says):
        _, err = weir("serve", *arguments, code=code)
        assert says in err, err

    refused(*listen, code=64, says="--cert FILE")
    refused("--listen", "http://127.0.0.1:0", "--tls", code=64, says="https://")
    refused(*listen, "--key", key, code=64, says="--key without")
    refused(*listen, "--cert", pem, "--key", key, "--tls", code=64, says="not both")
    refused(*listen, "--cert", "/proc/nothing.pem", code=66, says="/proc/nothing.pem: No such file")
    refused(*listen, "--cert", pem, "--key", other, code=78, says=f"{other}, line 1: this key does not")
    refused(*listen, "--cert", pem, code=78, says="no key in it")
    refused(*listen, "--tls", "--ocsp", pem, code=64, says="--ocsp without")
    refused("--listen", "http://127.0.0.1:0", "--ticket-keys", key, code=64, says="https://")
    refused(*listen, "--tls", "--ticket-keys", pem, code=77, says="chmod 600")
    refused(*listen, "--tls", "--ticket-keys", key, code=78, says="80 bytes")
    refused("--listen", "tls://127.0.0.1:0", code=64, says="HTTP/1.1 needs")
    refused(*listen, "--tls", "--redirect", code=64, says="listen on both")
    refused(*listen, "--tls", "--hsts", "1", "--listen", "http://127.0.0.1:0", code=64, says="--hsts")
    env = {"XDG_STATE_HOME": "", "HOME": ""}
    _, err = weir("serve", *listen, "--tls", code=73, env=env)
    assert "XDG_STATE_HOME" in err, err


if not shutil.which("curl") or not shutil.which("openssl"):
    raise SystemExit("skip: no curl or openssl")
served("--tls").stop()  # makes the CA, which every test here trusts
main()
