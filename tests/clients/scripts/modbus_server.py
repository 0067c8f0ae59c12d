"""pymodbus' serial RTU server on a tty: holding register N of unit 1 holds N.

Owner: the Modbus scenario. Ends when it is killed.

usage: modbus_server.py TTY
"""

import asyncio
import json
import sys

from pymodbus import FramerType
from pymodbus.server import ModbusSerialServer
from pymodbus.simulator import DataType, SimData, SimDevice

REGISTERS = 1000


async def main(tty):
    registers = SimData(0, values=list(range(REGISTERS)), datatype=DataType.REGISTERS)
    server = ModbusSerialServer(SimDevice(1, [registers]), framer=FramerType.RTU, port=tty, baudrate=115200)
    await server.serve_forever(background=True)
    print(json.dumps({"event": "ready"}), flush=True)
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
