"""Hosts that are silent, unreachable or far, and links that fail: what the kernel says of them, and
what weir makes of it."""
import errno
import socket
import threading
import time

from netlab import CLIENT, SERVER, Puppet, everywhere, expect, main, test, wait_until


def pair(net, backend, *settings):
    """A client and an echo server that wait for ever unless the settings say otherwise."""
    a, b = Puppet(net, net.a, backend), Puppet(net, net.b, backend)
    for puppet in (a, b):
        puppet.tell("set idle_ms off", "set first_byte_ms off", "set write_ms off")
    a.tell(*(f"set {setting}" for setting in settings))
    return a, b, b.listen()


def plain_says(net, port, prepare, act):
    """Runs a plain client's life on a thread; its answer is the name of the error that ended it."""
    says = {}
    plain = net.a.socket()
    prepare(plain)
    plain.connect((SERVER, port))

    def live():
        try:
            says["error"] = act(plain)
        except OSError as error:
            says["error"] = errno.errorcode.get(error.errno, str(error))
        plain.close()
    thread = threading.Thread(target=live, daemon=True)

    def join():
        thread.join(30)
        return says.get("error", "nothing")
    thread.start()
    return join


@test(*everywhere)
def link_down_and_up_under_load(net, backend):
    a, b, port = pair(net, backend)
    a.tell("rounds 4096")
    a.connect(port, 20)
    a.goes_on(100)
    # Behind the router: nobody is told.
    net.r.ip("link set vb down")
    time.sleep(0.8)
    assert a.count("close") == 0
    net.r.ip("link set vb up")
    a.goes_on(100)
    # At the client: its routes go with the link, and a new connection is refused by the kernel.
    net.a.ip("link set eth0 down")
    kernel = net.a.connect_says(SERVER, port)
    a.connect(port, opened=False)
    ending = a.ending()
    time.sleep(0.5)
    net.a.ip("link set eth0 up")
    net.a.ip("route add default via 10.77.1.1")
    a.goes_on(100)
    stats = a.stats()
    assert stats["opened"] == 20 and stats["wrong"] == 0, stats
    assert kernel == "ENETUNREACH", kernel
    return ["established: the kernel says nothing, weir says nothing, nothing is lost",
            f"new: {kernel} -> {expect(ending, 'error', kernel)}"]


@test(*everywhere)
def random_loss(net, backend):
    a, _, port = pair(net, backend)
    a.tell("rounds 20000")
    a.connect(port, 8)
    net.rule("numgen random mod 100 < 5 drop")
    a.goes_on(60, 40)
    a.all_well(8)
    return ["5 % lost: the kernel sends again, weir sees every byte once and in order"]


def keepalive(plain):
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 1)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 1)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)


@test(*everywhere)
def silent_peer_with_keepalive(net, backend):
    options = [f"socket.keepalive_{name}" for name in ("idle_s 1", "interval_s 1", "count 2")]
    a, b = Puppet(net, net.a, backend), Puppet(net, net.b, backend)
    for puppet in (a, b):
        puppet.tell("set idle_ms off", "set first_byte_ms off", *(f"set {o}" for o in options))
    port = b.listen()
    a.connect(port)
    join = plain_says(net, port, keepalive, lambda s: s.recv(1) and "data")
    wait_until(lambda: b.count("open") == 2)
    net.silent()
    ends = [a.ending(1), b.ending(1), b.ending(2)]
    assert join() == "ETIMEDOUT"
    assert all(e["ms"] >= 2000 for e in ends), ends
    return [f"recv: ETIMEDOUT -> {expect(end, 'error', 'ETIMEDOUT', text='timed out')}"
            for end in ends]


@test(*everywhere)
def silent_peer_with_user_timeout(net, backend):
    a, b, port = pair(net, backend, "socket.user_timeout_ms 1000")
    a.connect(port)

    def send_and_wait(plain):
        plain.send(b"x" * 100)
        return plain.recv(1) and "data"
    ready = threading.Event()
    join = plain_says(net, port, lambda s: s.setsockopt(socket.IPPROTO_TCP, 18, 1000),
                      lambda s: ready.wait() and send_and_wait(s))
    net.silent()
    ready.set()
    assert a.ask("send 1 100")["code"] >= 0
    ending = a.ending(1)
    assert join() == "ETIMEDOUT"
    assert 900 <= ending["ms"] < 5000, ending
    return [f"ETIMEDOUT -> {expect(ending, 'error', 'ETIMEDOUT', text='timed out')}"]


@test(*everywhere)
def silent_peer_and_deadlines(net, backend):
    """Without any option the kernel says nothing for 15 minutes; weir's deadlines do."""
    a, _, port = pair(net, backend, "idle_ms 700")
    a.connect(port)
    a.tell("set idle_ms off", "set write_ms 700", "set socket.send_buffer_bytes 16384")
    a.connect(port)
    net.silent()
    assert a.ask("send 2 400000")["code"] >= 0
    return [expect(a.ending(1), "deadline", "WEIR_ETIMEDOUT", "idle"),
            expect(a.ending(2), "deadline", "WEIR_ETIMEDOUT", "write")]


@test()
def send_fails_with_etimedout(net, backend):
    """The kernel gives up sending again (tcp_retries2) without any option being set. One that reads
    hears of it; one that is paused, by its next send."""
    a, _, port = pair(net, backend)
    net.a.sysctl(ipv4__tcp_retries2=3)
    a.connect(port, 2)
    net.silent()
    assert a.ask("pause 2")["code"] == 0
    for conn in (1, 2):
        assert a.ask(f"send {conn} 100")["code"] >= 0
    hears = a.ending(1, 20)
    wait_until(lambda: not net.a.states().get("ESTAB"), what="the kernel's giving up")
    assert a.count("close") == 1
    assert a.ask("send 2 100")["code"] >= 0
    return [expect(end, "error", "ETIMEDOUT", text="timed out") for end in (hears, a.ending(2))]


@test()
def established_then_unreachable(net, backend):
    """ICMP is a soft error of an established connection: it is reported in place of ETIMEDOUT when
    the kernel gives up, and nothing ends while it has not."""
    a, _, port = pair(net, backend)
    net.a.sysctl(ipv4__tcp_retries2=3)
    a.connect(port, 2)
    net.rule("ip saddr 10.77.1.2 reject with icmp type host-unreachable")
    assert a.ask("send 1 100")["code"] >= 0
    time.sleep(0.7)
    assert a.count("close") == 0
    ending = a.ending(1, 20)
    net.rule("")
    assert a.ask("send 2 100")["code"] >= 0  # the other one has forgotten it
    wait_until(lambda: a.stats()["received"] == 100, what="the echo")
    return [f"soft EHOSTUNREACH -> {expect(ending, 'error', 'EHOSTUNREACH', text='No route')}"]


@test(*everywhere)
def connect_to_a_silent_host(net, backend):
    a, _, port = pair(net, backend, "connect_ms 30000")
    net.a.sysctl(ipv4__tcp_syn_retries=1)
    net.silent()
    a.connect(port, opened=False)
    a.tell("set connect_ms 500")
    a.connect(port, opened=False)
    kernel = net.a.connect_says(SERVER, port)
    assert kernel == "ETIMEDOUT", kernel
    return [f"{kernel} -> {expect(a.ending(1), 'error', kernel)}",
            f"EINPROGRESS -> {expect(a.ending(2), 'deadline', 'WEIR_ETIMEDOUT', 'connect')}"]


@test(*everywhere)
def connect_errors(net, backend):
    """Every way in which a network refuses: weir reports the error of a plain connect."""
    a, _, port = pair(net, backend)
    net.a.sysctl(ipv4__neigh__eth0__mcast_solicit=2, ipv4__neigh__eth0__retrans_time_ms=100)
    for kind, prefix in (("unreachable", 90), ("prohibit", 91), ("blackhole", 92), ("throw", 93)):
        net.a.ip(f"route add {kind} 10.{prefix}.0.0/16")
    net.a.ip("route del default")
    net.a.ip("route add 10.77.2.0/24 via 10.77.1.1")
    net.a.ip("route add 10.88.0.0/16 via 10.77.1.1")
    net.r.ip("route add unreachable 10.88.0.0/16")
    icmp = "".join(f"add rule inet f way tcp dport {8000 + i} reject with {kind}\n"
                   for i, kind in enumerate((
                       "icmp type host-unreachable", "icmp type net-unreachable",
                       "icmp type port-unreachable", "icmp type admin-prohibited", "tcp reset")))
    net.r.nft(icmp)
    lines = []
    for what, address, to, wanted in (
            ("a closed port", SERVER, 9, "ECONNREFUSED"),
            ("a host that does not answer ARP", "10.77.1.99", 80, "EHOSTUNREACH"),
            ("no route", "10.99.0.1", 80, "ENETUNREACH"),
            ("a route \"unreachable\"", "10.90.0.1", 80, "EHOSTUNREACH"),
            ("a route \"prohibit\"", "10.91.0.1", 80, "EACCES"),
            ("a route \"blackhole\"", "10.92.0.1", 80, "EINVAL"),
            ("a route \"throw\"", "10.93.0.1", 80, "ENETUNREACH"),
            ("the router knows no route", "10.88.0.1", 80, "EHOSTUNREACH"),
            ("ICMP host unreachable", SERVER, 8000, "EHOSTUNREACH"),
            ("ICMP net unreachable", SERVER, 8001, "ENETUNREACH"),
            ("ICMP port unreachable", SERVER, 8002, "ECONNREFUSED"),
            ("ICMP administratively prohibited", SERVER, 8003, "EHOSTUNREACH"),
            ("a firewall's reset", SERVER, 8004, "ECONNREFUSED")):
        kernel = net.a.connect_says(address, to)
        assert kernel == wanted, f"{what}: {kernel}"
        since = len(a.events)
        a.connect(to, address=address, opened=False)
        end = a.wait(lambda e: e["event"] == "close", 10, since, what)
        assert not end["opened"]
        lines.append(f"{what}: {kernel} -> {expect(end, 'error', kernel)}")
    return lines


@test()
def mtu_black_hole(net, backend):
    """A link that carries less than both ends believe, behind a router that keeps it to itself."""
    a, _, port = pair(net, backend, "connect_ms 5000")
    net.r.nft("add table inet o\n"
              "add chain inet o out { type filter hook output priority 0; }\n"
              "add rule inet o out icmp type destination-unreachable drop\n")
    net.r.ip("link set vb mtu 1200")
    a.tell("rounds 400")
    a.connect(port)  # 1: small pieces pass
    a.tell("rounds 30000", "set socket.user_timeout_ms 1500")
    a.connect(port)  # 2: the handshake passes, the data does not
    a.tell("set socket.user_timeout_ms 0", "set idle_ms 1500")
    a.connect(port)  # 3: the kernel would go on trying for 15 minutes
    a.goes_on(20)
    ends = [expect(a.ending(2, 20), "error", "ETIMEDOUT"),
            expect(a.ending(3, 20), "deadline", "WEIR_ETIMEDOUT", "idle")]
    # The kernel's own cure, and the router's.
    net.a.sysctl(ipv4__tcp_mtu_probing=1, ipv4__tcp_retries1=1)
    a.tell("set idle_ms off")
    net.b.sysctl(ipv4__tcp_mtu_probing=1, ipv4__tcp_retries1=1)
    a.connect(port)  # 4
    before = a.stats()["received"]
    wait_until(lambda: a.stats()["received"] >= before + 30000, 20, "a transfer by probing")
    return [f"nothing -> {end}" for end in ends] + ["tcp_mtu_probing: it goes through"]


@test()
def address_removed(net, backend):
    """As when DHCP takes an address away: the kernel tells nobody."""
    a, _, port = pair(net, backend)
    a.connect(port)  # 1
    a.tell("set socket.user_timeout_ms 1200")
    a.connect(port)  # 2
    a.tell("set socket.user_timeout_ms 0")
    join = plain_says(net, port, lambda s: None,
                      lambda s: time.sleep(0.5) or s.send(b"x") and "sent")
    net.a.ip(f"addr del {CLIENT}/24 dev eth0")
    assert join() == "sent"
    for conn in (1, 2):
        assert a.ask(f"send {conn} 100")["code"] >= 0
    gone = a.ending(2)
    kernel = net.a.connect_says(SERVER, port)
    a.connect(port, opened=False)  # 3
    fresh = a.ending(3)
    net.a.ip(f"addr add {CLIENT}/24 dev eth0")
    net.a.ip("route add default via 10.77.1.1")
    wait_until(lambda: a.stats()["received"] == 100, 20, "the echo when the address was back")
    assert kernel == "ENETUNREACH", kernel
    assert gone["error"] in ("ETIMEDOUT", "ENETUNREACH", "EHOSTUNREACH", "EINVAL"), gone
    # A listener cannot be there before its address, unless it says so.
    refused = a.ask("listen tcp://10.77.1.77:0")
    assert refused["error"] == "EADDRNOTAVAIL", refused
    a.tell("set socket.freebind 1")
    early = a.listen("10.77.1.77")
    net.a.ip("addr add 10.77.1.77/24 dev eth0")
    assert net.b.connect_says("10.77.1.77", early) == ""
    return [f"established: nothing, then {expect(gone, 'error', gone['error'])}",
            f"new: {kernel} -> {expect(fresh, 'error', kernel)}",
            "back: bytes go on", "listen: EADDRNOTAVAIL, with freebind it waits for the address"]


main()
