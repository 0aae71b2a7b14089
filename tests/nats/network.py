"""Hosts on one network: a network namespace each, with a cable that can be pulled. The test itself has a cable too."""

import contextlib
import os
import subprocess


def ip(*arguments, netns=None):
    command = ["ip", *(["-n", netns] if netns else []), *arguments]
    subprocess.run(command, check=True, timeout=30, stdin=subprocess.DEVNULL)


class Network:
    def __init__(self, n_hosts):
        self.prefix = f"ipcfs{os.getpid() % 10000}"
        self.net = f"10.213.{os.getpid() % 250 + 1}"
        self.switch = self.prefix + "-sw"
        self._cleanup = contextlib.ExitStack()
        self._namespace(self.switch)
        ip("link", "add", "br0", "type", "bridge", netns=self.switch)
        ip("link", "set", "br0", "up", netns=self.switch)
        self.hosts = [Host(self, i + 1) for i in range(n_hosts)]
        self._cable(f"{self.prefix}-me", None, 254)
        self._cleanup.callback(ip, "link", "del", f"{self.prefix}-me")

    def _namespace(self, name):
        ip("netns", "add", name)
        self._cleanup.callback(ip, "netns", "del", name)

    def _cable(self, device, netns, number):
        """From the switch to a namespace, where it is called @device."""
        port = f"port{number}"
        ip("link", "add", port, "type", "veth", "peer", "name", "other", netns=self.switch)
        ip("link", "set", "other", "netns", netns or str(os.getpid()), "name", device, netns=self.switch)
        ip("link", "set", port, "master", "br0", "up", netns=self.switch)
        ip("addr", "add", f"{self.net}.{number}/24", "dev", device, netns=netns)
        ip("link", "set", device, "up", netns=netns)

    def stop(self):
        self._cleanup.close()


class Host:
    def __init__(self, network, number):
        self.network, self.number = network, number
        self.netns = f"{network.prefix}-{number}"
        self.address = f"{network.net}.{number}"
        network._namespace(self.netns)
        ip("link", "set", "lo", "up", netns=self.netns)
        network._cable("eth0", self.netns, number)

    def cut(self):
        ip("link", "set", f"port{self.number}", "down", netns=self.network.switch)

    def mend(self):
        ip("link", "set", f"port{self.number}", "up", netns=self.network.switch)
