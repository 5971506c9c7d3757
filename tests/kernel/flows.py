"""Flows that somebody forgets, ports that run out, floods, states of TCP that could stay for ever:
what the kernel says of them, and what weir makes of it."""
import random
import socket
import struct
import time

from netlab import CLIENT, SERVER, Puppet, everywhere, expect, main, test, wait_until


def patient(net, host, backend):
    puppet = Puppet(net, host, backend)
    puppet.tell("set idle_ms off", "set first_byte_ms off", "set write_ms off")
    return puppet


def pair(net, backend):
    a, b = patient(net, net.a, backend), patient(net, net.b, backend)
    return a, b, b.listen()


@test(*everywhere)
def ports_run_out(net, backend):
    a, _, port = pair(net, backend)
    net.a.sysctl(ipv4__ip_local_port_range="40000 40003")
    a.connect(port, 4)
    kernel = net.a.connect_says(SERVER, port)
    assert kernel == "EADDRNOTAVAIL", kernel
    a.connect(port, opened=False)  # 5
    ending = a.ending(5)
    assert a.ask("abort 1")["code"] == 0  # a reset leaves no TIME_WAIT behind
    a.ending(1)
    a.connect(port)
    return [f"{kernel} -> {expect(ending, 'error', kernel, text='assign requested address')}",
            "a connection less: the next one connects"]


def syn(source, port, source_port):
    """A TCP segment with SYN, in an IP packet whose checksum the kernel fills in."""
    addresses = socket.inet_aton(source) + socket.inet_aton(SERVER)
    head = struct.pack("!HHIIBBHHH", source_port, port, random.getrandbits(32), 0, 5 << 4, 2, 64240,
                       0, 0)
    words = struct.unpack("!16H", addresses + struct.pack("!BBH", 0, 6, len(head)) + head)
    total = sum(words)
    total = (total & 0xffff) + (total >> 16)
    total = ~(total + (total >> 16)) & 0xffff
    head = head[:16] + struct.pack("!H", total) + head[18:]
    return struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, 6, 0) + addresses + head


def flood(net, port, count):
    """SYNs from addresses that nobody has."""
    raw = net.a.socket(socket.SOCK_RAW, socket.IPPROTO_RAW)
    for i in range(count):
        raw.sendto(syn(f"10.66.{i >> 8 & 255}.{i & 255}", port, 1024 + i % 60000), (SERVER, 0))
    raw.close()


@test()
def syn_flood(net, backend):
    net.r.ip("route add blackhole 10.66.0.0/16")  # where the answers go
    net.b.sysctl(ipv4__tcp_max_syn_backlog=32, ipv4__tcp_syncookies=1)
    a, b = patient(net, net.a, backend), patient(net, net.b, backend)
    b.tell("set socket.backlog 32")
    port = b.listen()
    flood(net, port, 500)
    a.tell("rounds 1000")
    a.connect(port, 10)
    flood(net, port, 1500)
    a.goes_on(100)
    a.all_well(10)
    sent, taken = net.b.counter("SyncookiesSent"), net.b.counter("SyncookiesRecv")
    assert sent > 500 and taken >= 10, (sent, taken)
    # Without cookies the flood keeps others out, but not those who are in.
    net.b.sysctl(ipv4__tcp_syncookies=0)
    flood(net, port, 500)
    before = net.b.counter("TCPReqQFullDrop")
    a.tell("set connect_ms 800")
    a.connect(port, opened=False)
    ending = a.ending(11)
    assert net.b.counter("TCPReqQFullDrop") > before
    a.goes_on(100)
    return [f"cookies: {sent} sent, {taken} came back, 10 clients connected and were served",
            f"no cookies: the SYN is dropped -> "
            f"{expect(ending, 'deadline', 'WEIR_ETIMEDOUT', 'connect')}"]


@test()
def conntrack_full(net, backend):
    """A router whose table of connections is full. A namespace may not change the table's size
    where that is the whole machine's; a rule that counts the table's entries drops as it would."""
    a, _, port = pair(net, backend)
    net.r.sysctl(netfilter__nf_conntrack_tcp_timeout_close=1)
    path = "/proc/sys/net/netfilter/nf_conntrack_max"
    own = net.r.run("sh", "-c", f"test -w {path} && echo 8 > {path} && echo own", check=False).strip()
    net.r.nft("add rule inet f way ct state established accept\n" +
              ("add rule inet f way ct state new accept\n" if own else
               "add rule inet f way ct count over 8 drop\n"))
    a.tell("rounds 1000", "set connect_ms 700")
    a.connect(port, 8)
    a.connect(port, opened=False)  # 9
    ending = a.ending(9)
    a.goes_on(100)
    assert a.ask("abort 1")["code"] == 0
    a.tell("set connect_ms 20000")
    a.connect(port, seconds=20)  # 10
    stats = a.stats()
    assert stats["opened"] == 8 and stats["wrong"] == 0, stats
    return [f"full ({'table' if own else 'count'}): the SYN is dropped -> "
            f"{expect(ending, 'deadline', 'WEIR_ETIMEDOUT', 'connect')}",
            "established ones go on, and room lets new ones in"]


@test(*everywhere)
def idle_flow_forgotten(net, backend):
    """A firewall or NAT that forgets a flow which is idle for two seconds."""
    a, b = patient(net, net.a, backend), patient(net, net.b, backend)
    swallows, resets = b.listen(), b.listen()
    net.r.sysctl(netfilter__nf_conntrack_tcp_loose=0,
                 netfilter__nf_conntrack_tcp_timeout_established=2,
                 netfilter__nf_conntrack_tcp_timeout_unacknowledged=2)
    net.r.nft("add rule inet f way ct state established accept\n"
              "add rule inet f way ct state new tcp flags syn accept\n"
              f"add rule inet f way tcp dport {resets} reject with tcp reset\n"
              "add rule inet f way drop\n")
    a.tell("set socket.user_timeout_ms 1000")
    a.connect(swallows)  # 1
    a.tell("set socket.user_timeout_ms 0")
    a.connect(resets)  # 2
    a.tell("set write_ms 1000", "set idle_ms 4500", "set linger_ms 300")
    a.connect(swallows)  # 3: the program's own deadlines
    a.tell("set idle_ms off", "set socket.keepalive_idle_s 1", "set socket.keepalive_interval_s 1")
    a.connect(swallows)  # 4: keepalive keeps the flow known
    time.sleep(3.5)
    assert a.count("close") == 0
    for conn in (1, 2, 3, 4):
        assert a.ask(f"send {conn} 100")["code"] >= 0
    ends = [a.ending(1), a.ending(2), a.ending(3, 15)]
    wait_until(lambda: a.stats()["received"] == 100, what="the kept flow's echo")
    return [f"swallowed: nothing, then ETIMEDOUT -> {expect(ends[0], 'error', 'ETIMEDOUT')}",
            f"refused: RST -> {expect(ends[1], 'peer_reset', 'ECONNRESET', text='reset')}",
            f"swallowed: {expect(ends[2], 'deadline', 'WEIR_ETIMEDOUT', 'idle')}",
            "keepalive: the flow is not forgotten"]


@test(*everywhere)
def nat_forgets_a_flow(net, backend):
    """A NAT that takes a forgotten flow for a new one gives it another port: the server knows no
    such connection."""
    a, b, port = pair(net, backend)
    net.r.sysctl(netfilter__nf_conntrack_tcp_loose=1,
                 netfilter__nf_conntrack_tcp_timeout_established=1,
                 netfilter__nf_conntrack_tcp_timeout_unacknowledged=1)
    net.r.nft("add table ip n\n"
              "add chain ip n out { type nat hook postrouting priority 100; }\n"
              "add rule ip n out oifname vb tcp dport != 9 masquerade random\n")
    a.connect(port)
    time.sleep(2.5)
    wait_until(lambda: "10.77" not in net.r.run("cat", "/proc/net/nf_conntrack", check=False), 5,
               "the NAT's forgetting")
    assert a.ask("send 1 100")["code"] >= 0
    return [f"RST -> {expect(a.ending(1), 'peer_reset', 'ECONNRESET')}"]


@test(*everywhere)
def peer_vanished_and_back(net, backend):
    """A host that crashed and is up again knows nothing of its former connections."""
    a, b = patient(net, net.a, backend), patient(net, net.b, backend)
    port = b.listen()
    a.connect(port)  # 1: will send
    a.tell("set socket.keepalive_idle_s 1", "set socket.keepalive_interval_s 1",
           "set socket.keepalive_count 9")
    a.connect(port)  # 2: only listens
    wait_until(lambda: b.count("open") == 2)
    net.silent()
    assert b.ask("abort all")["code"] == 0  # its reset gets lost, as with the power
    b.ending(1)
    b.ending(2)
    b.kill()
    net.silent(False)
    again = patient(net, net.b, backend)
    assert again.listen(port=port) == port
    assert a.ask("send 1 100")["code"] >= 0
    ends = [a.ending(1), a.ending(2)]
    a.connect(port)
    return [f"send, RST -> {expect(ends[0], 'peer_reset', 'ECONNRESET', text='reset')}",
            f"keepalive, RST -> {expect(ends[1], 'peer_reset', 'ECONNRESET')}",
            "the new server serves"]


@test(*everywhere)
def syn_on_an_established_connection(net, backend):
    """A client host crashed and connects from the same port: the server's kernel asks whether the
    old connection is meant (challenge ACK, RFC 5961), and the client's resets that."""
    b = patient(net, net.b, backend)
    port = b.listen()

    def plain():
        made = net.a.socket()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        made.bind((CLIENT, 45000))
        made.connect((SERVER, port))
        return made
    before = plain()
    wait_until(lambda: b.count("open") == 1)
    net.silent()
    before.close()  # its reset gets lost
    net.silent(False)
    after = plain()
    after.sendall(b"here again")
    assert after.recv(100) == b"here again"
    ending = b.ending(1)
    wait_until(lambda: b.count("open") == 2, what="the opening of the new connection")
    assert b.count("close") == 1
    after.close()
    return [f"challenge ACK, RST -> {expect(ending, 'peer_reset', 'ECONNRESET')}",
            "the new connection is another one, and is served"]


# --- states that could stay for ever ---------------------------------------------------------------

@test(*everywhere)
def fin_wait_2_does_not_stay(net, backend):
    """We closed, the peer never does."""
    net.a.sysctl(ipv4__tcp_fin_timeout=1)
    a = patient(net, net.a, backend)
    listener = net.b.socket()
    listener.bind((SERVER, 0))
    listener.listen(8)
    a.tell("set linger_ms 400")
    a.connect(listener.getsockname()[1])
    peer, _ = listener.accept()
    assert a.ask("close 1")["code"] == 0
    wait_until(lambda: net.a.states().get("FIN-WAIT-2"), what="FIN_WAIT_2")
    ending = a.ending(1, 5)
    assert 400 <= ending["ms"] < 3000, ending
    wait_until(lambda: not net.a.states().get("FIN-WAIT-2"), 6, "the end of FIN_WAIT_2")
    peer.close()
    return [f"the kernel would wait for ever while the descriptor is open -> "
            f"{expect(ending, 'closed')}, and no FIN_WAIT_2 stays"]


@test(*everywhere)
def close_wait_does_not_stay(net, backend):
    """The peer closed; the program does not look, or has a handler that stays."""
    b = Puppet(net, net.b, backend)
    b.tell("set first_byte_ms off", "set idle_ms 1000", "set linger_ms 300")
    port = b.listen()
    plain = net.a.socket()
    plain.connect((SERVER, port))
    plain.close()
    ending = b.ending(1)
    b.tell("mode end")
    stays = net.a.socket()
    stays.connect((SERVER, port))
    stays.close()
    wait_until(lambda: net.b.states().get("CLOSE-WAIT"), what="CLOSE_WAIT")
    kept = b.ending(2)
    wait_until(lambda: not net.b.states().get("CLOSE-WAIT"), 5, "the end of CLOSE_WAIT")
    return [f"recv: 0 -> {expect(ending, 'peer_finished')}",
            f"a handler that stays -> {expect(kept, 'deadline', 'WEIR_ETIMEDOUT', 'idle')}"]


@test(*everywhere)
def last_ack_does_not_stay(net, backend):
    """Both closed, and the acknowledgement of our FIN never comes."""
    net.b.sysctl(ipv4__tcp_orphan_retries=1)
    b = patient(net, net.b, backend)
    b.tell("mode end")
    port = b.listen()
    plain = net.a.socket()
    plain.connect((SERVER, port))
    plain.shutdown(socket.SHUT_WR)
    b.wait(lambda e: e["event"] == "end")
    net.silent()
    assert b.ask("close 1")["code"] == 0
    ending = b.ending(1, 3)
    assert net.b.states().get("LAST-ACK"), net.b.states()
    wait_until(lambda: not net.b.states().get("LAST-ACK"), 15, "the end of LAST_ACK")
    plain.close()
    return [f"nothing is said of it -> {expect(ending, 'peer_finished')}; the kernel gives up after "
            "tcp_orphan_retries"]


main()
