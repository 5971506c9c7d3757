"""Ping and traceroute, over two hosts and the router between them; a sniffer beside tcpdump; a
network played by a program; the kernel's account of links and addresses."""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading

from netlab import BUILD, SERVER, SLOW, Skipped, everywhere, main, test, wait_until

EXAMPLES = os.path.join(os.environ.get("WEIR_BIN", f"{BUILD}/bin"), "examples")


def example(host, backend, *command, user=None, seconds=30):
    """Runs an example on a host: its exit code, what it printed, what it complained of."""
    wrapped = ["ip", "netns", "exec", host.name]
    if user is not None:
        wrapped += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
    done = subprocess.run(
        [*wrapped, os.path.join(EXAMPLES, command[0]), *command[1:]], capture_output=True,
        text=True, timeout=seconds * SLOW, env={**os.environ, "WEIR_BACKEND": backend})
    return done.returncode, done.stdout, done.stderr


def with_ip6(net):
    """Gives the hosts addresses of IPv6 too: fd77:1::2 and fd77:2::2."""
    for host, index in ((net.a, 1), (net.b, 2)):
        net.r.ip(f"addr add fd77:{index}::1/64 dev v{host.name[-1]} nodad")
        host.ip(f"addr add fd77:{index}::2/64 dev eth0 nodad")
        host.ip(f"route add default via fd77:{index}::1")
    net.r.sysctl(ipv6__conf__all__forwarding=1)
    # Until the kernel has seen that nobody else has the link-local ones it asks for no neighbours.
    wait_until(lambda: not any("tentative" in host.ip("-6 addr show") for host in net.hosts),
               what="the end of duplicate address detection")
    return "fd77:2::2"


@test(*everywhere)
def ping(net, backend):
    target6 = with_ip6(net)
    said = []
    for groups, kind in (("0 65535", "ping socket"), ("1 0", "raw socket")):
        net.a.sysctl(ipv4__ping_group_range=groups)
        for target in (SERVER, target6):
            code, out, err = example(net.a, backend, "ping", target, "3", "10")
            assert code == 0 and "3 sent, 3 received, 0 % lost" in out, (kind, out, err)
            # One router on the way.
            assert out.count("ttl 63") == 3 and len(re.findall(r"^64 bytes", out, re.M)) == 3, out
            said.append(f"{kind}, {target}: {out.splitlines()[-1]}")
    return said


@test("epoll", "uring")
def ping_without_rights(net, backend):
    net.a.sysctl(ipv4__ping_group_range="1 0")
    code, _, err = example(net.a, backend, "ping", SERVER, "1", user=65534)
    assert code != 0 and "CAP_NET_RAW" in err and "ping_group_range" in err, err
    net.a.sysctl(ipv4__ping_group_range="65534 65534")
    code, out, err = example(net.a, backend, "ping", SERVER, "1", user=65534)
    assert code == 0 and "1 received" in out, (out, err)
    return ["EPERM that names CAP_NET_RAW; with ping_group_range it answers"]


@test("epoll", "uring")
def ping_nobody(net, backend):
    for groups in ("0 65535", "1 0"):
        net.a.sysctl(ipv4__ping_group_range=groups)
        net.silent()
        code, out, _ = example(net.a, backend, "ping", SERVER, "2", "10")
        assert code != 0 and "2 sent, 0 received, 100 % lost" in out, out
        net.rule("reject with icmp type host-unreachable")
        code, out, _ = example(net.a, backend, "ping", SERVER, "2", "10")
        assert code != 0 and out.count("icmp://10.77.1.1 says: No route to host") == 2, out
    return ["silence: 100 % lost; a firewall's refusal is told with its address"]


@test(*everywhere)
def traceroute(net, backend):
    target6 = with_ip6(net)
    for groups in ("0 65535", "1 0"):
        net.a.sysctl(ipv4__ping_group_range=groups)
        for router, target in (("icmp://10.77.1.1", f"icmp://{SERVER}"),
                               ("icmp://[fd77:1::1]", f"icmp://[{target6}]")):
            bare = target.removeprefix("icmp://").strip("[]")
            code, out, err = example(net.a, backend, "traceroute", bare)
            rows = [line.split()[:2] for line in out.splitlines()]
            if code == 0 and rows[:1] == [["1", "nobody"]]:
                raise Skipped("this router does not answer")
            assert code == 0 and rows == [["1", router], ["2", target]], (groups, out, err)
    return [" | ".join(out.splitlines())]


class Listening:
    """A program on a host that prints what it sees, until it is ended."""

    def __init__(self, host, *command, env=None):
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", host.name, *command], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, **(env or {})})
        said = self.process.stderr.readline()
        while said and "listening" not in said:
            said = self.process.stderr.readline()
        assert said, f"{command[0]} does not listen"

    def until(self, last):
        """The lines as far as one with this in it."""
        lines = []
        while not lines or last not in lines[-1]:
            lines.append(self.process.stdout.readline().strip())
            assert lines[-1], f"ended before {last}: {lines}"
        return lines

    def end(self, number=signal.SIGTERM):
        """What it said of itself at its end."""
        self.process.send_signal(number)
        return self.process.communicate(timeout=20 * SLOW)[1].strip()


def talk(net, target6):
    """Datagrams, a stream, pings and what ARP asks, from a to b."""
    net.a.ip("neigh flush dev eth0")
    for family, target in ((socket.AF_INET, SERVER), (socket.AF_INET6, target6)):
        with net.a.socket(socket.SOCK_DGRAM, family=family) as udp:
            for size in (0, 1, 100, 1400):
                udp.sendto(bytes(size), (target, 7777))
        with net.b.socket(family=family) as listener, net.a.socket(family=family) as stream:
            listener.bind((target, 0))
            listener.listen()
            stream.connect(listener.getsockname()[:2])
            accepted = listener.accept()[0]
            stream.sendall(b"hello")
            assert accepted.recv(100) == b"hello"
            accepted.close()
            assert stream.recv(1) == b""
        example(net.a, "epoll", "ping", target, "2", "5")
    with net.a.socket(socket.SOCK_DGRAM) as udp:
        udp.sendto(b"end", (SERVER, 7778))


def comparable(lines):
    """What both programs say alike of each packet: the ends and the length, who is asked for. What
    hosts say by themselves may come before one of the programs listens."""
    said = []
    for line in (line for line in lines if "fe80::" not in line and "ff02::" not in line):
        found = re.match(r"(IP6? \S+ > [^ ]+): .*?(\d+)$", line)
        if found:
            said.append(found.groups())
        else:
            said.append(re.sub(r" is-at.*|, length.*| to .*|(?<=Reply).*", "", line))
    return said


@test(*everywhere)
def sniff(net, backend):
    if shutil.which("tcpdump") is None:
        raise Skipped("no tcpdump to compare with")
    target6 = with_ip6(net)
    program = os.path.join(EXAMPLES, "sniff")
    env = {"WEIR_BACKEND": backend}
    tcpdump = Listening(net.b, "tcpdump", "-i", "eth0", "-nnqtl", "--immediate-mode")
    weir = Listening(net.b, program, "eth0", env=env)
    numbers = net.b.run("tcpdump", "-i", "eth0", "-ddd", "udp and dst portrange 7777-7778")
    filtered = Listening(net.b, program, "eth0", numbers, env=env)
    talk(net, target6)
    lines = [program.until(".7778: UDP") for program in (tcpdump, weir, filtered)]
    tcpdump.end(signal.SIGINT)
    said, said_few = weir.end(), filtered.end()
    theirs, ours, few = (comparable(each) for each in lines)
    different = [pair for pair in zip(theirs, ours) if pair[0] != pair[1]]
    assert not different and len(theirs) == len(ours) >= 40, (different, len(theirs), len(ours))
    # No answer of ICMP among them, and each size of both families.
    assert few == [one for one in ours if one[0].endswith((".7777", ".7778"))], few
    assert [int(one[1]) for one in few] == [0, 1, 100, 1400] * 2 + [3], few
    assert said.endswith(", 0 dropped") and said_few == "9 packets, 0 dropped", (said, said_few)
    return [f"{len(ours)} lines as tcpdump has them, and {len(few)} through a filter"]


@test("epoll")
def sniff_without_rights(net, backend):
    code, _, err = example(net.a, backend, "sniff", "eth0", user=65534)
    assert code != 0 and "CAP_NET_RAW" in err, err
    code, _, err = example(net.a, backend, "sniff", "none0")
    assert code != 0 and "no network interface of this name" in err, err
    return ["EPERM that names CAP_NET_RAW; ENODEV that names the interface"]


@test(*everywhere)
def tunecho(net, backend):
    """A program plays all hosts of a network, for our ping and for a large one."""
    if not os.path.exists("/dev/net/tun"):
        raise Skipped("this kernel has no /dev/net/tun")
    net.a.sysctl(ipv4__ping_group_range="1 0")
    program = Listening(net.a, os.path.join(EXAMPLES, "tunecho"), "tun7",
                        env={"WEIR_BACKEND": backend})
    net.a.ip("addr add 10.9.0.1/24 dev tun7")
    net.a.ip("addr add fd79::1/64 dev tun7 nodad")
    net.a.ip("link set tun7 up")
    for target in ("10.9.0.2", "10.9.0.77", "fd79::2"):
        code, out, err = example(net.a, backend, "ping", target, "4", "5")
        assert code == 0 and "4 sent, 4 received, 0 % lost" in out, (target, out, err)
        assert out.count("ttl 64") == 4, out
    program.process.send_signal(signal.SIGTERM)
    out, err = program.process.communicate(timeout=20 * SLOW)
    assert re.fullmatch(r"\d+ in, 12 out\n", out), (out, err)
    assert "tun7" not in net.a.ip("link show"), "the device stayed"
    return [out.strip()]


@test("epoll")
def tun_without_rights(net, backend):
    code, _, err = example(net.a, backend, "tunecho", "tun7", user=65534)
    assert code != 0 and ("CAP_NET_ADMIN" in err or "/dev/net/tun" in err), err
    return [err.strip()[:200]]


def host_has(host):
    """Links, addresses and routes as ip(8) tells them, in the words of the example."""
    lines = set()
    for link in json.loads(host.ip("-j addr show")):
        up = "up" if "UP" in link["flags"] else "down"
        lines.add(f"link {link['ifname']} {up} mtu {link['mtu']}")
        for address in link.get("addr_info", []):
            lines.add(f"address {address['local']}/{address['prefixlen']} dev {link['ifname']}")
    for family in ("-4", "-6"):
        for route in json.loads(host.ip(f"{family} -j route show table main")):
            bits = 32 if family == "-4" else 128
            target = route["dst"] if "/" in route["dst"] else f"{route['dst']}/{bits}"
            target = "default/0" if route["dst"] == "default" else target
            via = route.get("gateway", "-")
            lines.add(f"route {target} via {via} dev {route.get('dev', '-')}")
    return lines


class Monitor(Listening):
    """The example ipmon, whose first dump has been read."""

    def __init__(self, host, backend, *before):
        program = os.path.join(EXAMPLES, "ipmon", "ipmon")
        if not os.path.exists(program):
            raise Skipped("ipmon was not built: no libmnl")
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", host.name, *before, program], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, env={**os.environ, "WEIR_BACKEND": backend})

    def dump(self):
        """Whatever it shows up to the end of a dump."""
        return set(self.until("that is all")[:-1])


@test(*everywhere)
def ipmon(net, backend):
    """What is there, and each change, as the commands of ip(8) made it."""
    with_ip6(net)
    monitor = Monitor(net.a, backend)
    assert monitor.dump() == host_has(net.a)
    for command, line in (
            ("link add x0 type veth peer name x1", "link x0 down mtu 1500"),
            ("link set x0 mtu 1400", "link x0 down mtu 1400"),
            ("addr add 10.50.0.1/24 dev x0", "address 10.50.0.1/24 dev x0"),
            ("link set x0 up", "link x0 up mtu 1400"),
            ("link set x1 up", "link x1 up mtu 1500"),
            ("route add 10.51.0.0/16 via 10.50.0.2", "route 10.51.0.0/16 via 10.50.0.2 dev x0"),
            ("addr add fd50::1/64 dev x0 nodad", "address fd50::1/64 dev x0"),
            ("route del 10.51.0.0/16", "deleted route 10.51.0.0/16 via 10.50.0.2 dev x0"),
            ("addr del fd50::1/64 dev x0", "deleted address fd50::1/64 dev x0"),
            ("link del x0", "deleted link x0 down mtu 1400")):
        net.a.ip(command)
        monitor.until(line)
    monitor.end()
    return ["a dump that is what ip(8) tells, and ten changes"]


@test("epoll", "uring")
def ipmon_that_lost_events(net, backend):
    """Stopped for so long that the kernel drops events (ENOBUFS), it shows all anew."""
    monitor = Monitor(net.a, backend)
    monitor.dump()
    monitor.process.send_signal(signal.SIGSTOP)
    net.a.run("ip", "-batch", "-", text="".join(
        f"addr add 10.60.{i // 250}.{i % 250 + 1}/32 dev lo\n" for i in range(3000)))
    net.a.run("ip", "-batch", "-", text="".join(
        f"addr del 10.60.{i // 250}.{i % 250 + 1}/32 dev lo\n" for i in range(10, 3000)))
    monitor.process.send_signal(signal.SIGCONT)
    before = monitor.until("events were lost")
    has = monitor.dump()
    assert has == host_has(net.a) and len(has) >= 10, has ^ host_has(net.a)
    net.a.ip("addr del 10.60.0.1/32 dev lo")
    monitor.until("deleted address 10.60.0.1/32 dev lo")
    monitor.end()
    return [f"{len(before)} lines, then ENOBUFS, then what there is"]


@test("epoll")
def ipmon_interrupted(net, backend):
    """A dump during which things change (NLM_F_DUMP_INTR) is not shown, but made again."""
    if shutil.which("strace") is None:
        raise Skipped("no strace to slow the dump down")
    if os.environ.get("WEIR_SANITIZE"):
        raise Skipped("the leak checker does not work under strace")
    net.a.run("ip", "-batch", "-", text="".join(
        f"addr add 10.61.{i // 250}.{i % 250 + 1}/32 dev lo\n" for i in range(2000)))
    monitor = Monitor(net.a, backend, "strace", "-f", "-qq", "-o", "/dev/null", "-e",
                      "trace=recvmsg", "-e", "inject=recvmsg:delay_enter=20000")
    told = threading.Event()

    def listen():
        while "it changed meanwhile" not in monitor.process.stderr.readline():
            pass
        told.set()
    threading.Thread(target=listen, daemon=True).start()
    changes = 0
    while not told.is_set() and changes < 2000:
        net.a.ip("addr add 10.62.0.1/32 dev lo" if changes % 2 == 0 else
                 "addr del 10.62.0.1/32 dev lo")
        changes += 1
    assert told.is_set(), "no dump was interrupted"
    expected, has = host_has(net.a), monitor.dump()
    assert has >= expected, expected - has
    monitor.process.kill()
    return [f"interrupted after {changes} changes, then {len(has)} lines of one moment"]


if __name__ == "__main__":
    main()
