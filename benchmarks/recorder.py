"""The recorder on one core, with another process as the venue: how many messages a second?

    python benchmarks/recorder.py [--rate 20000] [--seconds 20]

The venue sends recorded-size depth, bookTicker and trade messages over a TLS WebSocket, on the
second core. Sustained: `--rate` messages a second for `--seconds`; the recorder must lose none,
declare none, stay within 300 MiB and leave some of its core idle. Burst: as fast as the socket
takes them. Every frame is then read back and compared with what was sent, byte for byte.
"""

import argparse
import asyncio
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from research import recorder
from research.live.feed.limits import Limits
from research.live.net import Network
from research.sim import tls
from research.sources.recordings import segments

ROOT = Path(__file__).resolve().parent.parent
STREAMS = ("depth", "bookTicker", "trade")
LEVEL = ",".join(f'["61800.{i:02}","1.{i:03}"]' for i in range(20))


def message(number: int) -> bytes:
    """Return message `number`: of five, one is of depth (40 levels), three are quotes."""
    now, kind = time.time_ns() // 1_000_000, number % 5
    head = f'"E":{now},"T":{now},"s":"BTCUSDT"'
    if kind == 0:
        u = number * 3
        body = f'"U":{u - 2},"u":{u},"pu":{u - 15},"b":[{LEVEL}],"a":[{LEVEL}]'
        text = f'{{"stream":"btcusdt@depth@100ms","data":{{"e":"depthUpdate",{head},{body}}}}}'
    elif kind == 1:
        body = f'"t":{number // 5},"p":"61800.20","q":"0.006","X":"MARKET","m":false'
        text = f'{{"stream":"btcusdt@trade","data":{{"e":"trade",{head},{body}}}}}'
    else:
        body = f'"u":{number},"b":"61800.20","B":"2.507","a":"61800.30","A":"2.510"'
        text = f'{{"stream":"btcusdt@bookTicker","data":{{"e":"bookTicker",{head},{body}}}}}'
    return text.encode()


def framed(payload: bytes) -> bytes:
    if len(payload) < 126:
        return bytes((0x81, len(payload))) + payload
    return b"\x81\x7e" + struct.pack(">H", len(payload)) + payload


def venue(rate: float, count: int, said: Path) -> None:
    """Answer the handshake and send `count` messages; write their digest to `said`."""
    import hashlib

    folder = Path(tempfile.mkdtemp())
    context, ca = tls.server(folder)
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]} {ca}\n")
    sys.stdout.flush()
    while True:
        raw, _ = listener.accept()
        wire = context.wrap_socket(raw, server_side=True)
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = wire.recv(65536).decode()
        if "Upgrade" in asked:
            break
        body = b'{"lastUpdateId":10,"bids":[],"asks":[]}'
        wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        wire.close()
    wire.sendall(accepted(asked))
    digest = hashlib.sha256()
    ready = [message(i) for i in range(1, count + 1)] if rate == 0 else []
    size, sent, began = 0, 0, time.perf_counter()
    while sent < count:
        due = count if rate == 0 else min(count, int((time.perf_counter() - began) * rate))
        last = min(due, sent + 500)
        batch = ready[sent:last] or [message(i) for i in range(sent + 1, last + 1)]
        if not batch:
            time.sleep(0.0005)
            continue
        wire.sendall(b"".join(map(framed, batch)))
        for each in batch:
            digest.update(each)
        size, sent = size + sum(map(len, batch)), last
    took = time.perf_counter() - began
    said.write_text(f"{took} {size} {digest.hexdigest()}")
    time.sleep(60)


def accepted(asked: str) -> bytes:
    import base64
    import hashlib

    lines = dict(line.split(": ", 1) for line in asked.split("\r\n")[1:] if ": " in line)
    key = {name.lower(): value for name, value in lines.items()}["sec-websocket-key"]
    magic = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + base64.b64encode(magic) + b"\r\n\r\n"
    )


def measure(rate: float, count: int) -> dict[str, float]:
    """Record `count` messages sent at `rate` a second; 0: as fast as can be."""
    with tempfile.TemporaryDirectory() as place:
        said, folder = Path(place) / "said", Path(place) / "recording"
        words = [sys.executable, __file__, "--venue", str(rate), str(count), str(said)]
        child = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        os.sched_setaffinity(child.pid, {1})
        try:
            port, ca = child.stdout.readline().split()
            told, busy, took = asyncio.run(record(int(port), ca, folder, count))
        finally:
            child.kill()
        compare(folder, said.read_text().split()[2])
        sent_in, size, _ = said.read_text().split()
    return {
        "messages": count,
        "sent a second": count / float(sent_in),
        "kept a second": count / took,
        "MB/s": float(size) / 1e6 / took,
        "core busy": busy / took,
        "us a message": busy / count * 1e6,
        "packed to": told.written / told.received,
        "gaps": told.gaps,
        "peak MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


class Watch:
    """Looks at each second's statistics, and ends the recording when all is kept."""

    def __init__(self, count: int) -> None:
        self.count, self.done = count, asyncio.Event()
        self.marks: list[tuple[float, float, recorder.Statistics]] = []

    def __call__(self, now: recorder.Statistics) -> None:
        self.marks.append((time.perf_counter(), time.process_time(), now))
        if sum(now.messages.values()) >= self.count:
            self.done.set()


async def record(port: int, ca: str, folder: Path, count: int) -> tuple:
    """Record until all that was sent is kept; return the summary, CPU seconds and seconds."""
    watch = Watch(count)
    began, cpu = time.perf_counter(), time.process_time()
    async with Network(port, ca) as network:
        recording = recorder.capture(
            *("binance_usdm", ["BTCUSDT"], STREAMS, folder),
            network=network,
            limits=Limits(silence=30),
            progress=watch,
            convert=False,
        )
        task = asyncio.create_task(recording)
        await asyncio.wait_for(watch.done.wait(), 300)
        task.cancel()
        await asyncio.wait([task])
    at, used, told = watch.marks[-1]
    return told, used - cpu, at - began


def compare(folder: Path, digest: str) -> None:
    """See that what is on disk is what was sent, byte for byte and in order."""
    import hashlib

    found = hashlib.sha256()
    for part in segments.parts(folder):
        for block in segments.read_blocks(part):
            for record, frame in zip(block.records, block.frames()):
                if record["kind"] == segments.FRAME:
                    found.update(frame)
    assert found.hexdigest() == digest, "what was recorded is not what was sent"


def main() -> None:
    if sys.argv[1:2] == ["--venue"]:
        venue(float(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rate", type=float, default=20_000)
    parser.add_argument("--seconds", type=float, default=20)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {0})
    for name, rate in (("sustained", asked.rate), ("burst", 0.0)):
        found = measure(rate, int(asked.rate * asked.seconds))
        print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in found.items()))
        assert found["gaps"] == 0 and found["peak MiB"] <= 300


if __name__ == "__main__":
    main()
