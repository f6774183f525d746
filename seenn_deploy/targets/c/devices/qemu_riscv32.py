"""A 32-bit RISC-V processor: QEMU's board virt."""

from __future__ import annotations

from seenn_deploy.targets.c import emulator


class Device(emulator.Emulated):
    """The C folder on an emulated RV32IMAC, with picolibc's start-up and files of the host."""

    compiler = emulator.Tool(
        "riscv64-unknown-elf-gcc", "gcc-riscv64-unknown-elf picolibc-riscv64-unknown-elf"
    )
    emulator = emulator.Tool("qemu-system-riscv32", "qemu-system-misc")
    # The older specification keeps the counters in rv32i, so that picolibc is found.
    compile_options = (
        "-misa-spec=2.2", "-march=rv32imac", "-mabi=ilp32", "--specs=picolibc.specs",
        "--oslib=semihost", "--crt0=hosted", "-Wl,--defsym=__flash=0x80000000",
        "-Wl,--defsym=__flash_size=64M", "-Wl,--defsym=__ram=0x84000000",
        "-Wl,--defsym=__ram_size=60M",
    )  # fmt: skip
    machine_options = ("-M", "virt", "-m", "128M", "-bios", "none")
