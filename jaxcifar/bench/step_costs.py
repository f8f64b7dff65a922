"""The kernels of a compiled training step, and the bytes that they read and write.

A kernel is a unit of work that the compiler starts at once: a fusion of operations, or a function
of a library. Other operations on single numbers are left out: a TPU's scalar unit does them.

The bytes are those of main memory: every kernel reads its operands once and writes its results
once. If a kernel takes only parts of an operand (such as a batch of all images), the parts count.
"""

import dataclasses
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from jaxcifar.bench.compiled_text import Instruction, ProgramText, users_of

# They name or group values, and move no data.
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "opt-barrier", "add-dependency"),
}
_EXCHANGES = {
    *("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute"),
    "collective-broadcast",
}
_FREE_TARGETS = {"AllocateBuffer"}  # custom calls that move no data
_TAKES_PARTS = {"gather", "dynamic-slice"}  # of their first operand
_LIBRARIES_WITH_WORKSPACE = ("__cudnn", "__cublas")
_WORKSPACE = "u8["  # the type of a library's scratch memory, the last array of its result
# The kind of a kernel is the first one of which it has an operation.
_KINDS = (
    ("convolution", {"convolution"}),
    ("matrix product", {"dot"}),
    ("exchange between devices", _EXCHANGES),
    ("sorting", {"sort"}),
    ("scattering", {"scatter", "select-and-scatter"}),
    ("reduction", {"reduce", "reduce-window"}),
    ("gathering", {"gather", "dynamic-slice", "dynamic-update-slice"}),
)
_KINDS_OF_LIBRARIES = {"conv": "convolution", "gemm": "matrix product", "matmul": "matrix product"}
_MOVES = {"transpose", "copy"}
_CONVERTS = {*_MOVES, *_FREE, "reshape", "convert"}


@dataclasses.dataclass(frozen=True)
class Kernel:
    """A kernel of the step.

    Attributes:
      name: XLA's name.
      kind: a kind of work, such as "convolution".
      bytes: bytes of main memory that it reads and writes.
      in_branch: True if it is in a branch, which not every step takes.
    """

    name: str
    kind: str
    bytes: int
    in_branch: bool = False


@dataclasses.dataclass(frozen=True)
class KindTotal:
    """All kernels of a kind: their number, and their bytes together."""

    kind: str
    kernels: int
    bytes: int


def step_kernels(program: ProgramText) -> list[Kernel]:
    """Return the kernels of a training step, in the order in which the compiler put them.

    The step is the body of the loop with the most kernels, or the whole program if it has no loop.
    Loops inside the step count once. Of several branches, the one with the most bytes counts.
    """
    instructions = itertools.chain(*program.computations.values())
    loop_kernels = []  # the kernels of each loop
    for instruction in instructions:
        if instruction.opcode == "while":
            for body in program.called_by(instruction, "body"):
                loop_kernels.append(list(_kernels_of(program, body)))
    if not loop_kernels:
        return list(_kernels_of(program, program.entry))
    return max(loop_kernels, key=len)


def totals_by_kind(kernels: Sequence[Kernel]) -> list[KindTotal]:
    """Return the number and the bytes of each kind of kernels, most bytes first."""
    by_kind: defaultdict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        by_kind[kernel.kind].append(kernel)
    totals = [
        KindTotal(kind, len(members), _total_bytes(members)) for kind, members in by_kind.items()
    ]
    return sorted(totals, key=lambda total: -total.bytes)


def _total_bytes(kernels: Sequence[Kernel]) -> int:
    return sum(kernel.bytes for kernel in kernels)


def _kernels_of(program: ProgramText, computation: str) -> Iterator[Kernel]:
    """Yield the kernels of a computation and of the computations that it calls.

    Of several branches, only the one with the most bytes counts.
    """
    instructions = program.computations[computation]
    by_name = {instruction.name: instruction for instruction in instructions}
    for instruction in instructions:
        opcode = instruction.opcode
        is_free = opcode in _FREE or instruction.target in _FREE_TARGETS
        if is_free or opcode.endswith(("-done", "-update")):
            continue
        if opcode in ("while", "call", "async-start"):
            for called in program.called_by(instruction, "body", "to_apply", "calls"):
                yield from _kernels_of(program, called)
        elif opcode == "conditional":
            branches = [list(_kernels_of(program, name)) for name in program.called_by(instruction)]
            largest = max(branches, key=_total_bytes)
            yield from (dataclasses.replace(kernel, in_branch=True) for kernel in largest)
        elif opcode in ("fusion", "custom-call") or not instruction.is_scalar:
            operands = [by_name[name] for name in instruction.operands if name in by_name]
            moved_bytes = _bytes_moved(program, instruction, operands)
            yield Kernel(instruction.name, _kernel_kind(program, instruction), moved_bytes)


def _bytes_moved(
    program: ProgramText, instruction: Instruction, operands: Sequence[Instruction]
) -> int:
    """Return the bytes that an instruction reads from its operands and writes to its result."""
    read = 0
    for index, operand in enumerate(operands):
        bytes_of_parts = _bytes_of_parts(program, instruction, index)
        read += operand.bytes if bytes_of_parts is None else min(bytes_of_parts, operand.bytes)
    if instruction.opcode.endswith("-start"):  # its type repeats the operands
        return read + _bytes_of_started(instruction, read)
    return read + instruction.bytes - _workspace_bytes(instruction)


def _workspace_bytes(instruction: Instruction) -> int:
    """Return the bytes of the scratch memory that is part of the result of a library's function."""
    if not instruction.target.startswith(_LIBRARIES_WITH_WORKSPACE):
        return 0
    *_, last_type = instruction.type.rstrip(")").split(", ")
    return instruction.array_bytes[-1] if last_type.startswith(_WORKSPACE) else 0


def _bytes_of_started(instruction: Instruction, read: int) -> int:
    """Return the bytes that an asynchronous operation writes; `read` are the bytes that it reads.

    The operation begins with the given "-start" instruction, and ends with a later "-done"
    instruction.
    """
    if instruction.opcode == "copy-start":  # (copy, original, context)
        return instruction.array_bytes[0]
    return read


def _bytes_of_parts(program: ProgramText, instruction: Instruction, index: int) -> int | None:
    """Return the bytes read from an operand if an instruction reads only parts of this operand.

    Return None if the whole operand is read.

    Args:
      program: the compiled program.
      instruction: the instruction.
      index: index of the operand.
    """
    if instruction.opcode in _TAKES_PARTS:
        return instruction.bytes if index == 0 else None
    if instruction.opcode != "fusion":
        return None
    for called in program.called_by(instruction, "calls"):
        fused = program.computations[called]
        users: list[Instruction] = []
        for inner in fused:
            if inner.parameter == index:
                users += _final_users(inner.name, fused)
        if users and all(user.opcode in _TAKES_PARTS for user in users):
            return sum(user.bytes for user in users)
    return None


def _final_users(name: str, instructions: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions that use the value `name`, directly or through a "bitcast" of it."""
    users = []
    for user in users_of(name, instructions):
        if user.opcode == "bitcast":
            users += _final_users(user.name, instructions)
        else:
            users.append(user)
    return users


def _kernel_kind(program: ProgramText, instruction: Instruction) -> str:
    """Return the kind of work of a kernel, such as "convolution" or "elementwise"."""
    if instruction.opcode == "custom-call":
        target = instruction.target.lower()
        for word, kind in _KINDS_OF_LIBRARIES.items():
            if word in target:
                return kind
        return instruction.target or instruction.opcode
    opcodes = set(_opcodes(program, instruction))
    for kind, members in _KINDS:
        if opcodes & members:
            return kind
    if opcodes <= _CONVERTS:
        return "transposition or copy" if opcodes & _MOVES else "conversion"
    return "elementwise"


def _opcodes(program: ProgramText, instruction: Instruction) -> Iterator[str]:
    """Yield XLA's names of the operations in an instruction: its own, or all that it fuses."""
    called = list(program.called_by(instruction, "calls"))
    if not called:
        yield instruction.opcode.removesuffix("-start")
    for name in called:
        for inner in program.computations[name]:
            yield from _opcodes(program, inner)
