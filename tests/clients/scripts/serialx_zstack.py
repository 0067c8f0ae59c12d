"""serialx, the serial library of zigpy, over rfc2217://, to a stick that speaks Z-Stack: what a coordinator's driver does.

Owner: the serialx scenario. Lines of JSON out: what was read back.

usage: serialx_zstack.py rfc2217://HOST:PORT
"""

import asyncio
import json
import sys

import serialx

# SYS_PING of Z-Stack's monitor and test interface, and the head of its answer.
PING, PONG = bytes.fromhex("fe00210120"), bytes.fromhex("fe026101")


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


async def ping(reader, writer):
    writer.write(PING)
    await writer.drain()
    answer = await asyncio.wait_for(reader.readexactly(7), 5)
    assert answer.startswith(PONG), answer.hex()


async def as_zigpy_does(url):
    reader, writer = await serialx.open_serial_connection(url, baudrate=115200)
    transport = writer.transport
    await ping(reader, writer)
    # How zigpy-znp leaves a CC2652's boot loader: lines one way, then the other.
    for dtr, rts in ((False, False), (False, True), (False, False)):
        await transport.set_modem_pins(dtr=dtr, rts=rts)
        await asyncio.sleep(0.05)
    await ping(reader, writer)
    await transport.reconfigure_port(baudrate=57600)
    await ping(reader, writer)
    writer.close()
    await writer.wait_closed()


def without_asyncio(url):
    with serialx.serial_for_url(url, baudrate=460800, parity=serialx.Parity.EVEN) as port:
        port.reset_read_buffer()
        port.reset_write_buffer()
        port.write(PING)
        answer = port.readexactly(7, timeout=5)
        assert answer.startswith(PONG), answer.hex()
        port.set_modem_pins(dtr=True, rts=True)
        port.baudrate = 38400
        port.write(PING)
        assert port.readexactly(7, timeout=5).startswith(PONG)
        tell("line", baudrate=port.baudrate)


asyncio.run(as_zigpy_does(sys.argv[1]))
tell("coordinator")
without_asyncio(sys.argv[1])
tell("done")
