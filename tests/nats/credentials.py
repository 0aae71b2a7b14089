"""Keys and tokens as `nsc` makes them, which no package has: an operator, its accounts, and a user's creds file."""

import base64
import json
import subprocess
import time

OPERATOR, ACCOUNT, USER, SEED = 14 << 3, 0, 20 << 3, 18 << 3
ALL = dict.fromkeys(("subs", "data", "payload"), -1)


def crc16(data):
    """XMODEM's."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xffff
    return crc


def encode_key(data):
    return base64.b32encode(data + crc16(data).to_bytes(2, "little")).decode().rstrip("=")


def encode(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def openssl(*arguments, given=None):
    return subprocess.run(["openssl", *arguments], input=given, check=True, capture_output=True, timeout=30).stdout


class Key:
    def __init__(self, directory, kind):
        self.kind, self.path = kind, str(directory / f"key{kind}-{time.monotonic_ns()}")
        openssl("genpkey", "-algorithm", "ed25519", "-out", self.path)
        self.public = encode_key(bytes([kind]) + openssl("pkey", "-in", self.path, "-pubout", "-outform", "DER")[-32:])

    def seed(self):
        """The secret half."""
        prefix = bytes([SEED | self.kind >> 5, (self.kind & 31) << 3])
        return encode_key(prefix + openssl("pkey", "-in", self.path, "-outform", "DER")[-32:])

    def sign(self, of, name, **claims):
        """A token of this key's about the key @of."""
        kind = {OPERATOR: "operator", ACCOUNT: "account", USER: "user"}[of.kind]
        body = {"jti": name, "iat": int(time.time()), "iss": self.public, "name": name, "sub": of.public,
                "nats": {**claims, "type": kind, "version": 2}}
        text = ".".join(encode(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body))
        with open(self.path + ".text", "w", encoding="ascii") as file:
            file.write(text)
        signature = openssl("pkeyutl", "-sign", "-rawin", "-inkey", self.path, "-in", self.path + ".text")
        return f"{text}.{encode(signature)}"


class Authority:
    """What a server that demands creds has in its configuration, and the creds of users."""

    def __init__(self, directory):
        self.directory = directory
        self.operator, self.account, system = (Key(directory, kind) for kind in (OPERATOR, ACCOUNT, ACCOUNT))
        limits = {**ALL, "imports": -1, "exports": -1, "wildcards": True, "conn": -1, "leaf": -1}
        storage = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1}
        operator = self.operator.sign(self.operator, "operator", system_account=system.public)
        accounts = {self.account.public: self.operator.sign(self.account, "account", limits={**limits, **storage}),
                    system.public: self.operator.sign(system, "system", limits=limits)}
        preload = "\n".join(f"{key}: {token}" for key, token in accounts.items())
        self.lines = (f"operator: {operator}\nsystem_account: {system.public}\nresolver: MEMORY\n"
                      f"resolver_preload {{\n{preload}\n}}\n")

    def creds(self, name, signed_by=None):
        """The path of a file for a new user of the account, by its token; or by another's, whom the server doesn't know."""
        user = Key(self.directory, USER)
        token = (signed_by or self.account).sign(user, name, pub={}, sub={}, **ALL)
        path = self.directory / f"{name}.creds"
        path.write_text(f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
                        f"-----BEGIN USER NKEY SEED-----\n{user.seed()}\n------END USER NKEY SEED------\n")
        return str(path)
