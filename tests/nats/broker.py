"""nats-server as a process of a test's, and a client of sockets alone, so that the tests depend on no library of the bridge's."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile

from harness import PATIENCE, wait_until

NATS_SERVER = "nats-server"


def server_version():
    """(2, 9, 10)"""
    said = subprocess.run([NATS_SERVER, "--version"], stdout=subprocess.PIPE, timeout=PATIENCE, text=True, check=True).stdout
    return tuple(int(part) for part in said.strip().rpartition("v")[2].split("-")[0].split("."))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Broker:
    """A nats-server with JetStream, in a network namespace if one is named. Keeps its store over kill() and start()."""

    def __init__(self, lines="", host="127.0.0.1", port=None, netns=None, name="s1"):
        self.host, self.netns, self.name = host, netns, name
        self.port = port or free_port()
        self.directory = tempfile.mkdtemp(prefix="ipcfs-nats-")
        self.process = None
        with open(self.path("conf"), "w", encoding="utf-8") as f:
            f.write(f'host: {host}\nport: {self.port}\nserver_name: {name}\n'
                    f'jetstream {{ store_dir: "{self.path("js")}" }}\n{lines}\n')
        self.start()

    def path(self, name):
        return os.path.join(self.directory, name)

    @property
    def url(self):
        return f"nats://{self.host}:{self.port}"

    def start(self):
        prefix = ["ip", "netns", "exec", self.netns] if self.netns else []
        with open(self.path("log"), "ab") as log:
            n_said = log.tell()
            self.process = subprocess.Popen(
                [*prefix, "setpriv", "--pdeathsig", "KILL", NATS_SERVER, "-c", self.path("conf")],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def listens():
            assert self.process.poll() is None, self.log()
            return "Server is ready" in self.log()[n_said:]
        wait_until(listens, "nats-server listens")
        return self

    def log(self):
        with open(self.path("log"), encoding="utf-8") as f:
            return f.read()

    def kill(self, with_signal=signal.SIGKILL):
        self.process.send_signal(with_signal)
        self.process.wait(PATIENCE)

    def stop(self):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory)


class Client:
    """Publishes, and asks JetStream's API."""

    def __init__(self, url):
        host, _, port = url.removeprefix("nats://").rpartition(":")
        self.socket = socket.create_connection((host, int(port)), PATIENCE)
        self.lines = self.socket.makefile("rb")
        self.lines.readline()
        self.socket.sendall(b'CONNECT {"verbose":false,"headers":true,"no_responders":true}\r\n')
        self.inbox = f"_INBOX.{os.urandom(8).hex()}"
        self.numbers = itertools.count()
        self._send(f"SUB {self.inbox}.* 1")

    def close(self):
        self.lines.close()
        self.socket.close()

    def _send(self, line, data=None):
        self.socket.sendall(line.encode() + b"\r\n" + (b"" if data is None else data + b"\r\n"))

    def listen(self, subject):
        self._send(f"SUB {subject} 2")

    def publish(self, subject, data=b"", headers=None, reply=""):
        if headers is None:
            self._send(f"PUB {subject} {reply} {len(data)}", data)
            return
        head = "NATS/1.0\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n"
        head = head.encode()
        self._send(f"HPUB {subject} {reply} {len(head)} {len(head) + len(data)}", head + data)

    def next(self):
        """The next message: its subject, reply, headers, and bytes."""
        while True:
            line = self.lines.readline()
            assert line, "the server has gone"
            words = line.split()
            if words[0] == b"PING":
                self._send("PONG")
            elif words[0] in (b"MSG", b"HMSG"):
                data = self.lines.read(int(words[-1]) + 2)[:-2]
                n_head = int(words[-2]) if words[0] == b"HMSG" else 0
                n_fixed = 5 if words[0] == b"HMSG" else 4
                reply = words[3].decode() if len(words) > n_fixed else ""
                return words[1].decode(), reply, parse_headers(data[:n_head]), data[n_head:]
            else:
                assert words[0] not in (b"-ERR",), line

    def ask(self, subject, data=b"", headers=None):
        reply = f"{self.inbox}.{next(self.numbers)}"
        self.publish(subject, data, headers, reply)
        while True:
            to, _, _, answer = self.next()
            if to == reply:
                return answer

    def api(self, what, **arguments):
        return json.loads(self.ask("$JS.API." + what, json.dumps(arguments).encode() if arguments else b""))

    def store(self, subject, data=b"", headers=None):
        """Publishes, and waits until a stream has it: one that is being made may not listen yet, and then nobody answers."""
        answers = []

        def stored():
            answers.append(self.ask(subject, data, headers))
            return answers[-1]
        wait_until(stored, "a stream answers")
        answer = json.loads(answers[-1])
        assert "error" not in answer, answer
        return answer

    def store_all(self, subject, datas):
        """Many, in their order, some hundred in flight."""
        datas = list(datas)
        self.store(subject, datas[0])
        reply = f"{self.inbox}.{next(self.numbers)}"
        n_flight = 0
        for data in datas[1:]:
            self.publish(subject, data, reply=reply)
            n_flight += 1
            if n_flight == 200:
                assert b"error" not in self.next()[3]
                n_flight -= 1
        for _ in range(n_flight):
            assert b"error" not in self.next()[3]

    def stream(self, subject):
        """The name of the stream that keeps it; None."""
        names = self.api("STREAM.NAMES", subject=subject).get("streams") or []
        return names[0] if names else None

    def n_messages(self, stream):
        return self.api(f"STREAM.INFO.{stream}")["state"]["messages"]

    def messages(self, stream):
        """All that it keeps, as (headers, bytes), in order."""
        state = self.api(f"STREAM.INFO.{stream}")["state"]
        for sequence in range(state["first_seq"], state["last_seq"] + 1):
            answer = self.api(f"STREAM.MSG.GET.{stream}", seq=sequence)
            if "error" not in answer:
                yield from_stored(answer["message"])


def parse_headers(head):
    pairs = (line.partition(":") for line in head.decode().split("\r\n")[1:] if line)
    return {name: value.strip() for name, _, value in pairs}


def from_stored(message):
    decode = __import__("base64").b64decode
    return parse_headers(decode(message.get("hdrs", ""))), decode(message.get("data", ""))


@contextlib.contextmanager
def connected(broker):
    client = Client(broker.url)
    try:
        yield client
    finally:
        client.close()
