"""What esptool does to an ESP32 before it flashes: the reset sequence on DTR and RTS, another baud rate, and a lot of bytes.

Owner: the scenarios about reset sequences, here and in the hardware tier. esptool itself would want a boot loader that
answers. Lines of JSON out.

usage: esptool_reset.py URL [ROUNDS]
"""

import json
import sys
import time

import serial


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def reset(port):
    """The steps and pauses of esptool's ClassicReset."""
    port.dtr = False  # IO0 high
    port.rts = True  # EN low: the chip is in reset
    time.sleep(0.1)
    port.dtr = True  # IO0 low
    port.rts = False  # EN high: out of reset, into the boot loader
    time.sleep(0.05)
    port.dtr = False  # IO0 high, done


def echo(port, data):
    port.write(data)
    back = port.read(len(data))
    assert back == data, f"{len(back)} of {len(data)} bytes came back, or others"


def main(url, rounds="1"):
    with serial.serial_for_url(url, baudrate=115200, timeout=10) as port:
        tell("open")
        for _ in range(int(rounds)):
            start = time.perf_counter()
            reset(port)
            tell("reset", ms=round((time.perf_counter() - start) * 1000, 1))
        # The slip-framed SYNC that esptool sends, among bytes that telnet would like to eat.
        echo(port, b"\xc0\x00\x08\x24\x00" + bytes(4) + b"\x07\x07\x12\x20" + b"\x55" * 32 + b"\xc0" + b"\xff" * 7)
        port.baudrate = 921600
        echo(port, bytes(range(256)) * 64)
        tell("done")
        sys.stdin.read()


main(*sys.argv[1:])
