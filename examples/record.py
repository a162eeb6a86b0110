#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Records examples/mixed.pcap: real programs talking over real sockets in two network namespaces.

    apt-get install tcpdump iproute2 iputils-ping ethtool curl
    sudo python3 examples/record.py examples/mixed.pcap

What is said: HTTP over IPv4, IPv6 and a VLAN, DNS, pings with and without fragments and record-route
options, UDP on a port of its own, and GRE, which the example has no parser for. Kernels without VLAN
or GRE devices do as well: both are made in user space, from a TAP and a TUN device.
"""
import ctypes, fcntl, http.server, os, select, socket, struct, subprocess, sys, threading, time

CLIENT, SERVER = "bpfkit-client", "bpfkit-server"
VLAN = 7
libc = ctypes.CDLL(None, use_errno=True)


def sh(*words):
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL)


def enter(netns):
    fd = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    if libc.setns(fd, 0x40000000):
        raise OSError(ctypes.get_errno(), "setns")
    os.close(fd)


def child(netns, work, *words):
    pid = os.fork()
    if pid == 0:
        enter(netns)
        try:
            work(*words)
        finally:
            os._exit(0)
    return pid


def tuntap(name, mode):
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", name.encode(), mode | 0x1000))
    return fd


def vlan_device(lower, address4, address6):
    """A VLAN device: what the TAP device sends leaves `lower` with a tag, and the reverse."""
    tap = tuntap("vlan7", 2)
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((lower, 0))
    wire.setsockopt(263, 8, 1)  # PACKET_AUXDATA
    mac = open(f"/sys/class/net/{lower}/address").read().strip() if os.path.exists(f"/sys/class/net/{lower}/address") else None
    if mac:
        sh("ip", "link", "set", "vlan7", "address", mac)
    sh("ip", "addr", "add", address4, "dev", "vlan7")
    sh("ip", "link", "set", "vlan7", "mtu", "1400", "up")
    sh("ip", "-6", "addr", "add", address6, "dev", "vlan7", "nodad")
    while True:
        for ready in select.select([tap, wire], [], [])[0]:
            if ready is tap:
                frame = os.read(tap, 4096)
                wire.send(frame[:12] + struct.pack("!HH", 0x8100, VLAN) + frame[12:])
                continue
            frame, extra, _, source = wire.recvmsg(4096, 256)
            if source[2] == socket.PACKET_OUTGOING:
                continue
            tag = None
            for level, kind, data in extra:
                if level == 263 and kind == 8:
                    status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", data[:20])
                    tag = tci if status & 0x10 else None
            if frame[12:14] == b"\x81\x00":
                tag, frame = struct.unpack("!H", frame[14:16])[0], frame[:12] + frame[16:]
            if tag is not None and tag & 0xFFF == VLAN:
                os.write(tap, frame)


def gre_device(here, there, address):
    """A GRE tunnel: what the TUN device sends travels as protocol 47, and the reverse."""
    tun = tuntap("gre7", 1)
    wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, 47)
    wire.bind((here, 0))
    sh("ip", "addr", "add", address, "dev", "gre7")
    sh("ip", "link", "set", "gre7", "up")
    while True:
        for ready in select.select([tun, wire], [], [])[0]:
            if ready is tun:
                packet = os.read(tun, 4096)
                if packet[0] >> 4 == 4:
                    wire.sendto(struct.pack("!HH", 0, 0x0800) + packet, (there, 0))
            else:
                packet = wire.recv(4096)
                os.write(tun, packet[(packet[0] & 15) * 4 + 4:])


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = (self.path.encode() + b" ") * 40
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server6(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6


def names():
    """A name server that knows one answer."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("10.9.0.2", 53))
    while True:
        query, who = s.recvfrom(512)
        answer = query[:2] + b"\x81\x80" + query[4:6] + query[4:6] + b"\0\0\0\0" + query[12:]
        s.sendto(answer + b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04" + bytes([10, 9, 0, 2]), who)


def echo():
    s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    s.bind(("::", 5000))
    while True:
        data, who = s.recvfrom(2048)
        s.sendto(data[::-1], who)


def serve():
    for work in (names, echo, Server6(("::", 80), Pages).serve_forever):
        threading.Thread(target=work, daemon=True).start()
    time.sleep(3600)


def query(n):
    name = b"".join(bytes([len(part)]) + part for part in (b"host%d" % n, b"example", b"net")) + b"\0"
    return struct.pack("!HHHHHH", n, 0x0100, 1, 0, 0, 0) + name + b"\0\1\0\1"


def talk():
    for n in range(300):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.sendto(query(n), ("10.9.0.2", 53))
            s.recv(512)
    for n in range(40):
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.settimeout(2)
            s.sendto(b"ping %d" % n, ("fd09::2", 5000))
            s.recv(2048)
    for host, rounds in (("10.9.0.2", 60), ("[fd09::2]", 40), ("10.9.7.2", 20), ("[fd09:7::2]", 10)):
        for n in range(rounds):
            sh("curl", "-gs", "-o", "/dev/null", f"http://{host}/page/{n}")
    sh("ping", "-q", "-i", "0.005", "-c", "100", "10.9.0.2")
    sh("ping", "-q", "-i", "0.005", "-c", "100", "fd09::2")
    sh("ping", "-q", "-i", "0.01", "-c", "6", "-s", "4000", "10.9.0.2")
    sh("ping", "-q", "-i", "0.01", "-c", "6", "-s", "4000", "fd09::2")
    sh("ping", "-q", "-i", "0.01", "-c", "10", "-R", "10.9.0.2")
    sh("ping", "-q", "-i", "0.01", "-c", "20", "10.9.8.2")


def main(out):
    children = []
    for netns in (CLIENT, SERVER):
        subprocess.run(["ip", "netns", "del", netns], stderr=subprocess.DEVNULL)
        sh("ip", "netns", "add", netns)
    try:
        sh("ip", "link", "add", "c0", "netns", CLIENT, "type", "veth", "peer", "name", "s0", "netns", SERVER)
        for netns, dev, n in ((CLIENT, "c0", 1), (SERVER, "s0", 2)):
            ip = ("ip", "-n", netns)
            sh(*ip, "link", "set", "lo", "up")
            sh(*ip, "link", "set", dev, "address", f"02:00:00:00:00:0{n}", "up")
            sh(*ip, "addr", "add", f"10.9.0.{n}/24", "dev", dev)
            sh(*ip, "-6", "addr", "add", f"fd09::{n}/64", "dev", dev, "nodad")
            sh("ip", "netns", "exec", netns, "ethtool", "-K", dev, "tx", "off", "rx", "off", "gso", "off", "gro", "off", "tso", "off")
        time.sleep(2)
        recorder = subprocess.Popen(["ip", "netns", "exec", CLIENT, "tcpdump", "-q", "-U", "-i", "c0", "-w", out], stderr=subprocess.DEVNULL)
        time.sleep(1)
        children.append(child(SERVER, serve))
        for netns, dev, n in ((CLIENT, "c0", 1), (SERVER, "s0", 2)):
            children.append(child(netns, vlan_device, dev, f"10.9.7.{n}/24", f"fd09:7::{n}/64"))
            children.append(child(netns, gre_device, f"10.9.0.{n}", f"10.9.0.{3 - n}", f"10.9.8.{n}/24"))
        time.sleep(2)
        os.waitpid(child(CLIENT, talk), 0)
        time.sleep(1)
        recorder.terminate()
        recorder.wait()
    finally:
        for pid in children:
            os.kill(pid, 15)
        for netns in (CLIENT, SERVER):
            subprocess.run(["ip", "netns", "del", netns], stderr=subprocess.DEVNULL)


if len(sys.argv) != 2:
    sys.exit(__doc__)
main(os.path.abspath(sys.argv[1]))
