"""Unpacks the kernel of a bzImage: QEMU starts the plain ELF by itself, without the seconds that unpacking takes in emulation.

Owner: build. Layout: Documentation/arch/x86/boot.rst of the kernel.

usage: vmlinux.py VMLINUZ VMLINUX
"""

import lzma
import struct
import subprocess
import sys
import zlib

with open(sys.argv[1], "rb") as file:
    image = file.read()
protected = ((image[0x1F1] or 4) + 1) * 512
offset, length = struct.unpack_from("<II", image, 0x248)
payload = image[protected + offset : protected + offset + length]
if payload.startswith(b"\xfd7zXZ\0"):
    kernel = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
elif payload.startswith(b"\x1f\x8b"):
    kernel = zlib.decompressobj(31).decompress(payload)
elif payload.startswith(b"\x28\xb5\x2f\xfd"):
    # A size in four bytes follows the stream: zstd complains, after all of it is there.
    kernel = subprocess.run(["zstd", "-dc"], input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
else:
    sys.exit(f"unknown compression {payload[:6].hex()}")
if not kernel.startswith(b"\x7fELF"):
    sys.exit("no ELF inside")
with open(sys.argv[2], "wb") as file:
    file.write(kernel)
