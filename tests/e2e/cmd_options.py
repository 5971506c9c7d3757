"""The command line: help, versions, limits, back ends, mistakes and their exit codes."""
import errno
import json
import os
import re
import resource
import shutil
import socket
import subprocess

from cmd_support import *

USAGE, NOINPUT, UNAVAILABLE, OSERR, CANTCREAT, IOERR, NOPERM, CONFIG = 64, 66, 69, 71, 73, 74, 77, 78
COMMANDS = ["serve", "ctl", "backends", "limits", "version"]


def refused(*arguments, code, says):
    """Ends with this code, prints nothing on standard output, and says so in one line."""
    out, err = weir(*arguments, code=code)
    assert out == "", out
    assert re.search(says, err), f"{arguments}: {err!r} does not say {says!r}"
    assert err.startswith("weir"), err
    assert len(err.splitlines()) == 1 or "^" in err, f"more than a line: {err}"
    return err


@test
def help_names_everything():
    out, err = weir("--help")
    assert err == ""
    for command in COMMANDS:
        assert re.search(rf"^  {command} ", out, re.M), command
        of_it, _ = weir(command, "--help")
        assert of_it == weir("help", command)[0]
        assert of_it.startswith(f"usage: weir {command}")
        assert "\nExamples\n" in of_it and "--help" in of_it
        for line in of_it.splitlines():
            assert len(line) <= 80 or "http" in line, line
    assert weir("help")[0] == out == weir("-h")[0]
    # Without a command the summary is an error.
    out, err = weir(code=USAGE)
    assert out == "" and err.startswith("usage:")


@test
def examples_are_taken():
    """Every option in an example of --help exists."""
    for command in COMMANDS:
        text, _ = weir(command, "--help")
        table, examples = text.split("\nExamples\n")
        for option in re.findall(r"--[a-z-]+", examples):
            assert re.search(rf"^ .. *.*{option}\b", table, re.M), f"{command}: {option}"


@test
def version():
    out, _ = weir("--version")
    assert re.fullmatch(r"weir \d+\.\d+\.\d+\n", out), out
    number = out.split()[1]
    assert weir("version")[0].startswith(f"weir {number}\n")
    facts = json.loads(weir("version", "--json")[0])
    assert facts["version"] == number and facts["kernel"] == os.uname().release
    assert "epoll" in facts["features"] and facts["compiler"]


@test
def unknown_words_are_named_with_a_suggestion():
    refused("srve", code=USAGE, says=r"unknown command srve; did you mean serve\?")
    refused("zzzzzz", code=USAGE, says=r"unknown command zzzzzz \(weir --help")
    refused("--vresion", code=USAGE, says=r"unknown option --vresion")
    refused("serve", "--lisen", "x", code=USAGE, says=r"unknown option --lisen; did you mean --listen\?")
    refused("serve", "--access", code=USAGE, says=r"did you mean --access-log\?")
    refused("serve", "-x", code=USAGE, says=r"unknown option -x")
    refused("limits", "--jsn", code=USAGE, says=r"did you mean --json\?")
    refused("ctl", "statz", code=USAGE, says=r"did you mean stats\?")
    refused("ctl", code=USAGE, says=r"needs a request")
    refused("limits", "x", code=USAGE, says=r'no argument "x"')
    refused("serve", "a", "b", code=USAGE, says=r'one folder, not "a" and "b"')


@test
def values_are_checked():
    for arguments, says in [
            (["--loops", "0"], r'--loops: "0": out of range: from 1'),
            (["--loops", "two"], r'--loops: "two": not a whole number'),
            (["--loops"], r"--loops needs a value: N"),
            (["--listing=yes"], r"--listing takes no value"),
            (["--idle", "10"], r'--idle: "10": a unit is missing'),
            (["--idle", "0"], r'--idle cannot be 0; "never" turns it off'),
            (["--idle", "100us"], r"--idle: from 1ms"),
            (["--idle", "1000d"], r"--idle: from 1ms to 49d"),
            (["--drain", "soon"], r'--drain: "soon"'),
            (["--write-timeout", "0"], r'--write-timeout cannot be 0; "never" turns it off'),
            (["--write-timeout", "5"], r'--write-timeout: "5": a unit is missing'),
            (["--max-body", "1MB"], r"write MiB for 1024s"),
            (["--max-body", "-1"], r'--max-body: "-1"'),
            (["--memory", "1K"], r"--memory must be at least 1MiB"),
            (["--shape", "thread"], r"--shape: \"thread\" is none of single, threads, acceptor, processes; did"),
            (["--backend", "iouring"], r"--backend: \"iouring\" is none of auto, uring, epoll"),
            (["--backend="], r"is none of auto"),
            (["--access-format", "xml"], r"none of common, combined, json"),
            (["--access-log", ""], r"--access-log cannot be empty"),
            (["--overload", "drop"], r"none of leave, reset, answer"),
    ]:
        refused("serve", *arguments, code=USAGE, says=says)
    refused("ctl", "stats", "--interval", "never", code=USAGE, says='cannot be "never"')


@test
def addresses_point_at_the_mistake():
    err = refused("serve", "--listen", "http://127.0.0.1:80x", code=USAGE, says=r"cannot listen on")
    lines = err.splitlines()
    assert lines[1][lines[2].index("^")] == "x", err
    refused("serve", "--listen", "8080", code=USAGE, says=r"did you mean http://127.0.0.1:8080")
    refused("serve", "--listen", "127.0.0.1:80", code=USAGE, says=r"did you mean http://127.0.0.1:80")
    refused("serve", "--listen", "/run/x.sock", code=USAGE, says=r"did you mean unix:/run/x.sock")
    refused("serve", "--listen", "https://127.0.0.1:0", code=USAGE, says=r"TLS|--cert")
    refused("serve", "--listen", "udp://127.0.0.1:0", code=USAGE, says=r"http://, https:// or unix:")
    refused("serve", "--listen", "http://127.0.0.1:0/x", code=USAGE, says=r"leave out the path /x")
    refused("serve", "--listen", "http://127.0.0.1:0 http://127.0.0.1:0", code=USAGE,
            says=r"one address for each --listen")
    refused("serve", "--listen", "http://192.0.2.77:0", code=UNAVAILABLE, says=r"192\.0\.2\.77")


@test
def a_taken_port_names_its_holder():
    holder = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{holder.getsockname()[1]}"
    for shape in "single", "threads", "acceptor":
        refused("serve", "--listen", url, "--shape", shape, code=UNAVAILABLE,
                says=rf"cannot listen on {url}: .*python.*\(pid {os.getpid()}\)")
    holder.close()


@test
def a_port_is_not_shared_with_another_server():
    """SO_REUSEPORT would let a second server of the same user in, and take half of the clients."""
    server = Server("--loops", "2")
    refused("serve", "--listen", f"http://127.0.0.1:{server.port}", "--loops", "2",
            code=UNAVAILABLE, says=rf"weir \(pid {server.pid}\) has it")
    server.stop()


@test
def folders_that_cannot_be_served():
    www = folder(a_txt=b"x")
    refused("serve", os.path.join(SCRATCH, "nowhere"), code=NOINPUT, says="there is no such folder")
    refused("serve", os.path.join(www, "a.txt"), code=NOINPUT, says="it is no folder")
    if os.geteuid() == 0:
        return  # root may read everything
    os.mkdir(os.path.join(SCRATCH, "shut"), 0)
    refused("serve", os.path.join(SCRATCH, "shut"), code=NOPERM, says="no permission")


@test
def settings_that_cannot_be_used():
    listen = ["--listen", "http://127.0.0.1:0"]
    refused("serve", *listen, "--features", "+teleport", code=CONFIG, says="unknown feature")
    refused("serve", *listen, "--header", "nonsense", code=USAGE, says="nonsense")
    refused("serve", *listen, "--header", "Content-Length: 5", code=USAGE, says="Content-Length")
    refused("serve", *listen, "--header", "A: b\r\nC: d", code=USAGE, says="A: b")
    refused("serve", *listen, "--access-log", "/nowhere/at/all", code=CANTCREAT,
            says="cannot open access log /nowhere/at/all")
    refused("serve", *listen, "--access-log", SCRATCH, code=CANTCREAT, says="name a file")
    refused("serve", *listen, "--ctl", "/nowhere/at/all.ctl", code=NOINPUT, says="/nowhere/at/all")
    refused("serve", *listen, "--ctl", "x" * 200, code=OSERR, says="no control socket")
    refused("serve", "--listen", "unix:/nowhere/at/all.sock", code=NOINPUT, says="/nowhere/at/all")


@test
def unprivileged_port():
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        raise Skipped("needs root, to become somebody else")
    start = int(open("/proc/sys/net/ipv4/ip_unprivileged_port_start").read())
    if start < 2:
        raise Skipped("every port is free for all here")
    if subprocess.run(["setpriv", "--reuid=65534", WEIR, "--version"],
                      capture_output=True).returncode != 0:
        raise Skipped("others cannot run the command here")
    done = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                           "--bounding-set=-all", "--inh-caps=-all", WEIR, "serve", "--listen",
                           "http://127.0.0.1:1"], capture_output=True, text=True, timeout=20)
    assert done.returncode == NOPERM, done
    assert "127.0.0.1:1" in done.stderr, done.stderr


@test
def backends():
    plan = json.loads(weir("backends", "--json", env={"WEIR_BACKEND": "", "WEIR_FEATURES": ""})[0])
    names = [b["backend"] for b in plan["backends"]]
    assert names[-3:] == ["epoll", "poll", "select"], names
    assert plan["chosen"] in names and plan["reason"]
    for backend in plan["backends"]:
        assert backend["usable"] or backend["reason"], backend
        assert all(row["reason"] for row in backend["features"])
    text, _ = weir("backends", env={"WEIR_BACKEND": "poll", "WEIR_FEATURES": ""})
    assert text.startswith("poll is chosen: WEIR_BACKEND names it\n"), text
    features = json.loads(weir("backends", "--features", "--json")[0])
    assert {f["feature"] for f in features} >= {"multishot_recv", "direct"}
    _, err = weir("backends", code=CONFIG, env={"WEIR_FEATURES": "teleport"})
    assert "unknown feature" in err


@test
def limits():
    rows = json.loads(weir("limits", "--json")[0])
    names = {f"{row['group']}.{row['name']}": row["default"] for row in rows}
    assert len(names) == len(rows), "a name stands twice"
    assert names["core.soft_mark"] == 65536 and names["core.hard_cap"] == 1 << 20
    assert names["http.head_max_bytes"] == 16384 and names["core.memory_max_bytes"] > 1 << 24
    assert all(row["what"] and row["unit"] for row in rows)
    text, _ = weir("limits")
    for row in rows:
        assert re.search(rf"^  {row['name']} ", text, re.M), row


@test
def what_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:
        done = subprocess.run([WEIR, "limits"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == IOERR and os.strerror(errno.ENOSPC) in done.stderr, done


main()
