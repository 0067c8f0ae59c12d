"""USB serial devices in software: descriptors, and answers to what Linux' drivers ask of the chips.

Owner: lab.py. Behind each chip is a UART that sends back what it receives, with RTS wired to CTS and DTR to DSR, as
pyserial's tests want it. An unknown vendor request gets zeros, or success, and is noted among the device's events.
"""

import asyncio
import collections
import struct
import time


class Stall(Exception):
    """The device refuses a control request."""


class Uart:
    """One serial port behind a chip."""

    def __init__(self, device, ep_in, ep_out, packet):
        self.device, self.ep_in, self.ep_out, self.packet = device, ep_in, ep_out, packet
        self.waiting = bytearray()  # for the guest to fetch
        self.dtr = self.rts = self.frozen = self.breaking = False
        self.coding = None  # whatever the driver set last

    # What the wires bring back.
    cts = property(lambda self: self.rts)
    dsr = property(lambda self: self.dtr)
    dcd = ri = False

    def set_lines(self, dtr=None, rts=None):
        self.dtr = self.dtr if dtr is None else dtr
        self.rts = self.rts if rts is None else rts
        self.device.note(f"dtr={int(self.dtr)} rts={int(self.rts)}")
        self.device.lines_changed(self)
        self.device.soon()

    def take(self, data):
        self.waiting += data
        self.device.soon()


class Device:
    """What all chips have in common. `speed`: 0 low, 1 full, 2 high (usbredir's numbers)."""

    speed, triple, usb, release, ep0 = 1, (0, 0, 0), 0x0200, 0x0100, 64

    def __init__(self, vendor, product_id, serial=None, manufacturer=None, product=None):
        self.vendor_id, self.product_id = vendor, product_id
        self.strings = [None, manufacturer, product, serial]
        self.events = []  # (CLOCK_MONOTONIC in seconds, what)
        self.pending = {}  # id -> (endpoint, is_in, data or size, done)
        self.interrupts = collections.defaultdict(collections.deque)
        self.known = set()
        self.uarts, self.config = [], b""
        self.build()

    def note(self, what):
        self.events.append((time.monotonic(), what))

    def string(self, index):
        return index if self.strings[index] else 0

    # -- control requests: the answer, b"" for a request that sends; or Stall

    def control(self, kind, request, value, index, length, data):
        if kind & 0x60 == 0:
            return self.standard(request, value, length)
        handler = self.of_class if kind & 0x60 == 0x20 else self.of_vendor
        answer = handler(kind & 0x80, request, value, index, data)
        if answer is None:
            if (kind, request) not in self.known:
                self.known.add((kind, request))
                self.note(f"unknown request {kind:02x} {request:02x} {value:04x} {index:04x}")
            answer = bytes(length) if kind & 0x80 else b""
        return answer[:length]

    def standard(self, request, value, length):
        if request == 6:  # GET_DESCRIPTOR
            kind, index = value >> 8, value & 0xFF
            if kind == 1:
                device = (18, 1, self.usb, *self.triple, self.ep0, self.vendor_id, self.product_id, self.release)
                strings = (self.string(1), self.string(2), self.string(3), 1)
                return struct.pack("<BBHBBBBHHHBBBB", *device, *strings)[:length]
            if kind == 2:
                return self.config[:length]
            if kind == 3 and index == 0:
                return b"\x04\x03\x09\x04"[:length]
            if kind == 3 and index < 4 and self.strings[index]:
                text = self.strings[index].encode("utf-16le")
                return (bytes([len(text) + 2, 3]) + text)[:length]
            raise Stall
        return {8: b"\x01", 0: b"\0\0", 10: b"\0"}.get(request, b"")[:length]

    def of_class(self, _reads, _request, _value, _index, _data):
        return None

    of_vendor = of_class

    def lines_changed(self, uart):
        """The modem lines that the driver sees are others now."""

    # -- bulk and interrupt transfers, each endpoint's strictly in order: QEMU insists

    def submit(self, transfer, endpoint, is_in, argument, done):
        self.pending[transfer] = (endpoint, is_in, argument, done)
        self.complete()

    def cancel(self, transfer):
        return self.pending.pop(transfer, None) is not None

    def soon(self):
        asyncio.get_running_loop().call_soon(self.complete)

    def complete(self):
        stuck = set()
        for transfer in list(self.pending):
            entry = self.pending.get(transfer)
            if entry is None or entry[:2] in stuck:
                continue
            endpoint, is_in, argument, done = entry
            result = self.transfer(endpoint, is_in, argument)
            if result is None:
                stuck.add((endpoint, is_in))
            else:
                del self.pending[transfer]
                done(result)

    def transfer(self, endpoint, is_in, argument):
        """What the transfer brings, or None: not yet."""
        for uart in self.uarts:
            if is_in and uart.ep_in == endpoint:
                return None if uart.frozen else self.give(uart, argument)
            if not is_in and uart.ep_out == endpoint:
                # Where the guest does not fetch, nothing more is taken.
                if uart.frozen or len(uart.waiting) > 65536:
                    return None
                uart.take(argument)
                return argument
        queue = self.interrupts[endpoint]
        return queue.popleft()[:argument] if is_in and queue else None

    def give(self, uart, size):
        data = bytes(uart.waiting[:size])
        del uart.waiting[:size]
        return data or None


def interface(number, triple, endpoints, extra=b"", string=0):
    """endpoints: (address, attributes, packet size, interval)"""
    out = struct.pack("<9B", 9, 4, number, 0, len(endpoints), *triple, string) + extra
    for address, attributes, size, interval in endpoints:
        out += struct.pack("<BBBBHB", 7, 5, address, attributes, size, interval)
    return out


def configuration(interfaces, body):
    return struct.pack("<BBHBBBBB", 9, 2, 9 + len(body), interfaces, 1, 0, 0x80, 45) + body


class Ftdi(Device):
    """FT232R. Each packet to the host begins with two bytes of status: drivers/usb/serial/ftdi_sio.c."""

    release = 0x0600

    def build(self):
        body = interface(0, (0xFF,) * 3, [(0x81, 2, 64, 0), (0x02, 2, 64, 0)], string=self.string(2))
        self.config = configuration(1, body)
        self.uarts = [Uart(self, 1, 2, 64)]
        self.latency, self.told = 16, None

    def status(self, uart):
        lines = 1 | uart.cts << 4 | uart.dsr << 5 | uart.ri << 6 | uart.dcd << 7
        return bytes([lines, 0x60 | uart.breaking << 4])

    def of_vendor(self, reads, request, value, index, _data):
        uart = self.uarts[0]
        if reads:
            return {0x05: self.status(uart), 0x0A: bytes([self.latency]), 0x90: b"\xff\xff"}.get(request)
        if request == 0 and value == 1:
            uart.waiting.clear()
        elif request == 1:
            dtr = bool(value & 1) if value & 0x100 else None
            uart.set_lines(dtr, bool(value & 2) if value & 0x200 else None)
        elif request == 3:
            uart.coding = (value, index)
            self.note(f"divisor {value:04x}/{index:04x}")
        elif request == 4:
            self.note("break on" if value & 0x4000 else f"format {value:04x}")
        elif request == 9:
            self.latency = value
        return b""

    def give(self, uart, size):
        status = self.status(uart)
        if not uart.waiting:
            if self.told == status:
                return None
            self.told = status
            return status
        out = b""
        while uart.waiting and len(out) + uart.packet <= max(size, uart.packet):
            payload = bytes(uart.waiting[: uart.packet - 2])
            del uart.waiting[: len(payload)]
            out += status + payload
            if len(payload) < uart.packet - 2:
                break
        return out

    def lines_changed(self, uart):
        self.told = None


class Cp210x(Device):
    """CP2102: drivers/usb/serial/cp210x.c. Tells nobody of its own accord that a line has changed."""

    def build(self):
        self.config = configuration(1, interface(0, (0xFF, 0, 0), [(0x81, 2, 64, 0), (0x01, 2, 64, 0)], string=self.string(2)))
        self.uarts = [Uart(self, 1, 1, 64)]
        self.registers = {}

    def of_vendor(self, reads, request, value, _index, data):
        uart = self.uarts[0]
        if reads:
            lines = uart.dtr | uart.rts << 1 | uart.cts << 4 | uart.dsr << 5
            return {
                0xFF: b"\x02",  # the part: CP2102
                0x1D: struct.pack("<I", uart.coding or 9600),
                0x04: struct.pack("<H", self.registers.get(3, 0x0800)),
                0x08: bytes([lines]),
                0x14: self.registers.get(0x13, bytes(16)),
                0x1A: self.registers.get(0x19, bytes(6)),
                0x10: bytes(19),
            }.get(request)
        if request == 0x1E:
            uart.coding = struct.unpack("<I", data[:4])[0]
            self.note(f"baud {uart.coding}")
        elif request == 0x07:
            uart.set_lines(bool(value & 1) if value & 0x100 else None, bool(value & 2) if value & 0x200 else None)
        elif request == 0x05:
            self.note(f"break {'on' if value else 'off'}")
        else:
            self.registers[request] = data or value
        return b""


class Ch340(Device):
    """CH340G: drivers/usb/serial/ch341.c. It has no serial number."""

    usb, release, ep0, triple = 0x0110, 0x0254, 8, (0xFF, 0, 0)

    def build(self):
        endpoints = [(0x82, 2, 32, 0), (0x02, 2, 32, 0), (0x81, 3, 8, 1)]
        self.config = configuration(1, interface(0, (0xFF, 1, 2), endpoints))
        self.uarts = [Uart(self, 2, 2, 32)]

    def status(self, uart):
        return ~(uart.cts | uart.dsr << 1 | uart.ri << 2 | uart.dcd << 3) & 0xFF

    def of_vendor(self, reads, request, value, _index, _data):
        uart = self.uarts[0]
        if reads:
            return {0x5F: b"\x31\0", 0x95: bytes([self.status(uart), 0xEE])}.get(request)
        if request == 0xA4:
            uart.set_lines(not value & 0x20, not value & 0x40)
        return b""

    def lines_changed(self, uart):
        self.interrupts[1].append(bytes([8, 0, self.status(uart), 0xEE, 0, 0, 0, 0]))


class CdcAcm(Device):
    """A Z-Wave stick without any string: drivers/usb/class/cdc-acm.c. The class has no CTS."""

    triple = (2, 0, 0)

    def build(self):
        functional = bytes([5, 0x24, 0, 0x10, 1, 5, 0x24, 1, 0, 1, 4, 0x24, 2, 6, 5, 0x24, 6, 0, 1])
        body = interface(0, (2, 2, 1), [(0x83, 3, 16, 10)], functional)
        body += interface(1, (10, 0, 0), [(0x81, 2, 64, 0), (0x02, 2, 64, 0)])
        self.config = configuration(2, body)
        self.uarts = [Uart(self, 1, 2, 64)]

    def of_class(self, _reads, request, value, _index, data):
        uart = self.uarts[0]
        if request == 0x20:
            uart.coding = struct.unpack("<IBBB", data[:7])
            self.note(f"coding {uart.coding}")
        elif request == 0x21:
            return struct.pack("<IBBB", *(uart.coding or (9600, 0, 0, 8)))
        elif request == 0x22:
            uart.set_lines(bool(value & 1), bool(value & 2))
        elif request == 0x23:
            self.note(f"break {value}")
        else:
            return None
        return b""

    def lines_changed(self, uart):
        state = uart.dcd | uart.dsr << 1 | uart.breaking << 2 | uart.ri << 3
        self.interrupts[3].append(struct.pack("<BBHHHH", 0xA1, 0x20, 0, 0, 2, state))


KINDS = {
    "ftdi": lambda: Ftdi(0x0403, 0x6001, "FT4X8RQJ", "FTDI", "FT232R USB UART"),
    "ftdi-too": lambda: Ftdi(0x0403, 0x6001, "FT9HT9QX", "FTDI", "FT232R USB UART"),
    "cp2102": lambda: Cp210x(0x10C4, 0xEA60, "0c8b3f2e", "Silicon Labs", "CP2102 USB to UART Bridge Controller"),
    "ch340": lambda: Ch340(0x1A86, 0x7523, product="USB Serial"),
    "zwave": lambda: CdcAcm(0x0658, 0x0200),
}
