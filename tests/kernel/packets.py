"""Ping and traceroute, over two hosts and the router between them."""
import os
import re
import subprocess

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


if __name__ == "__main__":
    main()
