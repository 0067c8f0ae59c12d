"""A Linux guest in QEMU with USB sticks that are plugged and unplugged: a real kernel, real drivers, emulated chips.

Owner: the hardware tier's tests, which start it and talk to it line by line: words in, JSON out. It ends with its standard
input, and QEMU with it. All listeners are on 127.0.0.1; the guest reaches nothing but what is forwarded into it.

  lab.py DIRECTORY SHARE [GUEST_PORT...]     DIRECTORY: what `build` made; SHARE: copied to /fleet in the guest

  -> {"event": "booted", "forwards": {"6638": "127.0.0.1:40001"}}
  plug NAME KIND [SOCKET]                   KIND of devices.py, SOCKET from 1 on: {"event": "plug"}
  unplug NAME                               -> {"event": "unplug"}
  freeze NAME 0|1      no bulk transfer completes any more, or again
  events NAME FROM     what the driver asked for: {"event": "events", "events": [[seconds, what], ...]}, CLOCK_MONOTONIC
  exec SCRIPT          in the guest: {"event": "exec", "rc": 0, "out": "..."}
"""

import asyncio
import contextlib
import ctypes
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

from devices import KINDS
from usbredir import Redirection

SHELL_PORT = 7000
PATIENCE = 120


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def accelerator():
    """KVM where it runs an ordinary kernel: not below a hypervisor of its own kind, where it opens and gets nowhere."""
    modules = any(os.path.isdir(f"/sys/module/{name}") for name in ("kvm_amd", "kvm_intel"))
    return "kvm" if modules and os.access("/dev/kvm", os.R_OK | os.W_OK) else "tcg,thread=multi"


class Lab:
    def __init__(self, directory, share, ports):
        self.directory, self.share = directory, share
        self.forwards = {port: free_port() for port in [SHELL_PORT, *ports]}
        self.sockets = tempfile.TemporaryDirectory(prefix="serialfleet-lab-")
        self.devices, self.plugged, self.serial = {}, {}, 0
        self.answers, self.deleted = {}, {}

    async def boot(self):
        qmp = f"{self.sockets.name}/qmp"
        accel = accelerator()
        forwards = "".join(f",hostfwd=tcp:127.0.0.1:{here}-:{there}" for there, here in self.forwards.items())
        self.console = f"{self.sockets.name}/console"
        command = [
            "qemu-system-x86_64", "-M", "q35", "-m", "384", "-smp", "2",
            "-accel", accel, "-cpu", "host" if accel == "kvm" else "max",
            "-nodefaults", "-no-reboot", "-display", "none", "-serial", f"file:{self.console}",
            "-kernel", f"{self.directory}/vmlinux", "-initrd", f"{self.directory}/initrd",
            "-append", "console=ttyS0 panic=-1 quiet loglevel=4 mitigations=off nokaslr random.trust_cpu=on",
            "-device", "qemu-xhci,id=xhci,p2=15,p3=4",
            "-netdev", f"user,id=net,restrict=on{forwards}", "-device", "virtio-net-pci,netdev=net,romfile=",
            "-virtfs", f"local,path={self.share},mount_tag=share,security_model=none,readonly=on,multidevs=remap",
            "-qmp", f"unix:{qmp},server=on,wait=off",
        ]  # fmt: skip
        with_us = ctypes.CDLL(None).prctl
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sys.stderr, preexec_fn=lambda: with_us(1, signal.SIGKILL)
        )
        deadline = time.monotonic() + PATIENCE
        self.reader = None
        while not self.reader:
            await self.until(deadline, lambda: os.path.exists(qmp))
            # The socket has its name a moment before QEMU listens.
            with contextlib.suppress(ConnectionRefusedError):
                self.reader, self.writer = await asyncio.open_unix_connection(qmp)
        await self.reader.readline()
        self.listener = asyncio.ensure_future(self.listen())
        await self.qmp("qmp_capabilities")
        while True:
            # QEMU accepts connections before anybody listens in the guest: only an answer says that it is up.
            try:
                if (await asyncio.wait_for(self.run("true"), 1))[0] == 0:
                    return
            except (OSError, ValueError, asyncio.TimeoutError):
                await self.until(deadline, lambda: True)

    async def until(self, deadline, condition):
        while True:
            await asyncio.sleep(0.02)
            if self.process.poll() is not None or time.monotonic() > deadline:
                log = open(self.console, errors="replace").read()[-3000:] if os.path.exists(self.console) else ""
                raise RuntimeError(f"the guest does not boot (QEMU: {self.process.poll()}):\n{log}")
            if condition():
                return

    def stop(self):
        if hasattr(self, "process"):
            self.process.kill()
            self.process.wait()
        self.sockets.cleanup()

    # -- QEMU's monitor

    async def listen(self):
        while line := await self.reader.readline():
            message = json.loads(line)
            if message.get("event") == "DEVICE_DELETED":
                if gone := self.deleted.get(message["data"].get("device")):
                    gone.set()
            elif waiting := self.answers.pop(message.get("id"), None):
                waiting.set_result(message)

    async def qmp(self, execute, **arguments):
        self.serial += 1
        answer = self.answers[self.serial] = asyncio.get_running_loop().create_future()
        self.writer.write(json.dumps({"execute": execute, "arguments": arguments, "id": self.serial}).encode() + b"\n")
        message = await asyncio.wait_for(answer, 10)
        if "error" in message:
            raise RuntimeError(f"{execute}: {message['error']['desc']}")
        return message["return"]

    # -- verbs

    async def run(self, script):
        """The script's exit status and what it said. The guest's end is a shell on a TCP port."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.forwards[SHELL_PORT])
        end = "--the end--"
        writer.write(f"sh -c {shlex.quote(script)} </dev/null 2>&1; echo; echo {end} $?; exit\n".encode())
        said = (await reader.read()).decode(errors="replace")
        writer.close()
        out, _, status = said.rpartition(f"\n{end} ")
        return int(status), out

    async def plug(self, name, kind, socket=None):
        if name in self.plugged:
            raise RuntimeError(f"{name} is plugged in already")
        device = self.devices.get(name) or self.devices.setdefault(name, KINDS[kind]())
        # Each stick has a socket of its own, as somebody would put it back.
        socket = socket or str(list(self.devices).index(name) + 1)
        self.serial += 1
        identity, path = f"usb-{self.serial}", f"{self.sockets.name}/usb-{self.serial}"
        server = await asyncio.start_unix_server(lambda r, w: Redirection(device, r, w).run(), path)
        backend = {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": path}}, "server": False}}
        await self.qmp("chardev-add", id=f"c-{identity}", backend=backend)
        await self.qmp("device_add", driver="usb-redir", id=identity, chardev=f"c-{identity}", bus="xhci.0", port=socket)
        self.plugged[name] = (identity, server)
        device.note("plugged")

    async def unplug(self, name):
        identity, server = self.plugged.pop(name)
        gone = self.deleted[identity] = asyncio.Event()
        self.devices[name].note("unplugged")
        await self.qmp("device_del", id=identity)
        await asyncio.wait_for(gone.wait(), 10)
        server.close()

    async def obey(self, line):
        verb, _, rest = line.partition(" ")
        words = rest.split()
        if verb == "exec":
            status, out = await self.run(rest)
            return {"rc": status, "out": out}
        if verb == "plug":
            return await self.plug(*words)
        if verb == "unplug":
            return await self.unplug(*words)
        device = self.devices[words[0]]
        if verb == "events":
            return {"events": device.events[int(words[1]) :]}
        if verb == "freeze":
            device.uarts[0].frozen = words[1] == "1"
            return device.complete()
        raise RuntimeError(f"no such verb: {verb}")


async def main(directory, share, *ports):
    lab = Lab(directory, share, [int(port) for port in ports])
    start = time.monotonic()
    try:
        await lab.boot()
        forwards = {str(there): f"127.0.0.1:{here}" for there, here in lab.forwards.items()}
        tell("booted", forwards=forwards, seconds=round(time.monotonic() - start, 1))
        lines = asyncio.StreamReader(limit=1 << 20)
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
        while line := (await lines.readline()).decode():
            try:
                tell(line.split()[0], **(await lab.obey(line.strip()) or {}))
            except Exception as error:
                tell("error", text=f"{line.strip()}: {type(error).__name__}: {error}")
    finally:
        lab.stop()


# SIGTERM ends it in good order, too.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
asyncio.run(main(*sys.argv[1:]))
