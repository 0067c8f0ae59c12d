"""Carries a device of devices.py to QEMU's `usb-redir`, by the usbredir protocol: docs/usb-redirection-protocol.md of that project.

Owner: lab.py, one connection for each time that a device is plugged in.
"""

import asyncio
import struct

from devices import Stall

# Capabilities: the version at connect, packet sizes of endpoints, 64-bit ids, 32-bit lengths.
CAPABILITIES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6
LONG_IDS = 1 << 5


def parse(config):
    """The interfaces (number, class, subclass, protocol), and by address each endpoint's (type, interval, interface, size)."""
    interfaces, endpoints, at, current = [], {}, 0, 0
    while at < len(config):
        length, kind = config[at], config[at + 1]
        if kind == 4:
            current = config[at + 2]
            interfaces.append((current, *config[at + 5 : at + 8]))
        elif kind == 5:
            size = struct.unpack_from("<H", config, at + 4)[0]
            endpoints[config[at + 2]] = (config[at + 3] & 3, config[at + 6], current, size)
        at += length
    return interfaces, endpoints


class Redirection:
    """One plugged-in device."""

    def __init__(self, device, reader, writer):
        self.device, self.reader, self.writer = device, reader, writer
        self.long_ids, self.receiving = False, set()

    def send(self, kind, transfer, body):
        if not self.writer.is_closing():
            head = struct.pack("<IIQ" if self.long_ids else "<III", kind, len(body), transfer)
            self.writer.write(head + body)

    async def run(self):
        self.device.pending.clear()
        self.send(0, 0, b"serialfleet".ljust(64, b"\0") + struct.pack("<I", CAPABILITIES))
        try:
            while True:
                head = "<IIQ" if self.long_ids else "<III"
                kind, length, transfer = struct.unpack(head, await self.reader.readexactly(struct.calcsize(head)))
                self.packet(kind, transfer, await self.reader.readexactly(length))
                await self.writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            self.device.pending.clear()
            self.writer.close()

    def packet(self, kind, transfer, body):
        if kind == 0:  # hello
            peer = struct.unpack_from("<I", body, 64)[0] if len(body) >= 68 else 0
            self.long_ids = bool(peer & LONG_IDS)
            self.announce()
        elif kind == 3:  # reset
            self.device.pending.clear()
            self.receiving.clear()
        elif kind in (6, 7):  # set, get configuration
            self.send(8, transfer, bytes([0, body[0] if kind == 6 else 1]))
        elif kind in (9, 10):  # set, get alternate setting
            self.send(11, transfer, bytes([0, body[0], body[1] if kind == 9 else 0]))
        elif kind in (15, 16):  # start, stop receiving interrupts
            endpoint = body[0] & 15
            self.send(17, transfer, bytes([0, body[0]]))
            if kind == 15:
                self.receiving.add(endpoint)
                self.receive(endpoint)
            else:
                self.receiving.discard(endpoint)
                self.device.cancel(("interrupt", endpoint))
        elif kind == 21 and self.device.cancel(transfer):
            self.send(101, transfer, struct.pack("<BBHIH", 0, 1, 0, 0, 0))
        elif kind == 100:
            self.control(transfer, body)
        elif kind == 101:
            self.bulk(transfer, body)
        elif kind == 103:  # interrupt out: taken
            endpoint, _, length = struct.unpack_from("<BBH", body)
            self.send(103, transfer, struct.pack("<BBH", endpoint, 0, length))

    def announce(self):
        interfaces, endpoints = parse(self.device.config)
        types, intervals, owners, sizes = bytearray(b"\xff" * 32), bytearray(32), bytearray(32), [0] * 32
        types[0] = types[16] = 0
        sizes[0] = sizes[16] = self.device.ep0
        for address, (kind, interval, owner, size) in endpoints.items():
            slot = (address & 15) | (16 if address & 0x80 else 0)
            types[slot], intervals[slot], owners[slot], sizes[slot] = kind, interval, owner, size
        self.send(5, 0, bytes(types) + bytes(intervals) + bytes(owners) + struct.pack("<32H", *sizes))
        columns = b"".join(bytes(column).ljust(32, b"\0") for column in zip(*interfaces))
        self.send(4, 0, struct.pack("<I", len(interfaces)) + columns)
        device = self.device
        ids = (device.vendor_id, device.product_id, device.release)
        self.send(1, 0, struct.pack("<BBBBHHH", device.speed, *device.triple, *ids))

    def receive(self, endpoint):
        def done(data):
            if endpoint in self.receiving:
                self.send(103, 0, struct.pack("<BBH", endpoint | 0x80, 0, len(data)) + data)
                self.receive(endpoint)

        self.device.submit(("interrupt", endpoint), endpoint, True, 64, done)

    def control(self, transfer, body):
        endpoint, request, kind, _, value, index, length = struct.unpack_from("<BBBBHHH", body)
        status, data = 0, b""
        try:
            data = self.device.control(kind, request, value, index, length, body[10:])
        except Stall:
            status, length = 4, 0
        if status == 0 and kind & 0x80:
            length = len(data)
        else:
            data = b""
        self.send(100, transfer, struct.pack("<BBBBHHH", endpoint, request, kind, status, value, index, length) + data)

    def bulk(self, transfer, body):
        endpoint, _, low, stream, high = struct.unpack_from("<BBHIH", body)
        is_in = bool(endpoint & 0x80)

        def done(data):
            size = len(data)
            head = struct.pack("<BBHIH", endpoint, 0, size & 0xFFFF, stream, size >> 16)
            self.send(101, transfer, head + (data if is_in else b""))

        argument = low | high << 16 if is_in else body[10:]
        self.device.submit(transfer, endpoint & 15, is_in, argument, done)
