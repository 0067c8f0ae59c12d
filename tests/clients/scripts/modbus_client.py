"""pymodbus' TCP client with the RTU framer: a Modbus master that reaches a serial line through the bridge.

Owner: the Modbus scenario. Lines of JSON out. Commands in: `read COUNT` (registers from 0 on), `measure ROUNDS`.

usage: modbus_client.py HOST PORT
"""

import json
import logging
import statistics
import sys
import time

from pymodbus import FramerType
from pymodbus.client import ModbusTcpClient
from pymodbus.exceptions import ModbusException


def tell(event, **more):
    print(json.dumps({"event": event, **more}), flush=True)


def read(client, count):
    """The registers, or why there are none."""
    try:
        answer = client.read_holding_registers(0, count=count, device_id=1)
    except ModbusException as error:
        return str(error)
    return str(answer) if answer.isError() else answer.registers


def measure(client, rounds):
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        registers = read(client, 10)
        taken.append((time.perf_counter() - start) * 1000)
        if registers != list(range(10)):
            return tell("error", text=f"read {registers}")
    cuts = statistics.quantiles(taken, n=100)
    tell("measured", rounds=rounds, p50_ms=round(cuts[49], 3), p99_ms=round(cuts[98], 3))


def main(host, port):
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    client = ModbusTcpClient(host, port=int(port), framer=FramerType.RTU, timeout=1, retries=0)
    if not client.connect():
        return tell("error", text="cannot connect")
    tell("connected")
    for line in sys.stdin:
        command, argument = line.split()
        if command == "read":
            got = read(client, int(argument))
            tell("read", registers=got, own_port=client.socket and client.socket.getsockname()[1])
        elif command == "measure":
            measure(client, int(argument))


main(*sys.argv[1:])
