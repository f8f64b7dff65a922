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
_OPCODES_WITHOUT_DATA = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("partition-id", "replica-id", "opt-barrier", "add-dependency"),
}
_EXCHANGE_OPCODES = {
    *("all-reduce", "all-gather", "all-to-all", "reduce-scatter", "collective-permute"),
    "collective-broadcast",
}
_CUSTOM_CALLS_WITHOUT_DATA = {"AllocateBuffer"}  # custom calls that move no data
_KERNEL_OPCODES = ("fusion", "custom-call")  # kernels even if their result is a single number
_OPCODES_READING_PARTS = {"gather", "dynamic-slice"}  # of their first operand
_LIBRARIES_WITH_WORKSPACE = ("__cudnn", "__cublas")
_WORKSPACE_TYPE = "u8["  # the type of a library's scratch memory, the last array of its result
# The kind of a kernel is the first one of which it has an operation.
_OPCODES_OF_KINDS = (
    ("convolution", {"convolution"}),
    ("matrix product", {"dot"}),
    ("exchange between devices", _EXCHANGE_OPCODES),
    ("sorting", {"sort"}),
    ("scattering", {"scatter", "select-and-scatter"}),
    ("reduction", {"reduce", "reduce-window"}),
    ("gathering", {"gather", "dynamic-slice", "dynamic-update-slice"}),
)
_KIND_OF_LIBRARY_WORD = {
    "conv": "convolution",
    "gemm": "matrix product",
    "matmul": "matrix product",
}
_MOVE_OPCODES = {"transpose", "copy"}
_CONVERSION_OPCODES = {*_MOVE_OPCODES, *_OPCODES_WITHOUT_DATA, "reshape", "convert"}


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
    """Return the kernels of a training step, in the order in which they stand in the program.

    The step is the body of the loop with the most kernels, or the whole program if it has no loop.
    A loop inside the step counts as one iteration, and a conditional as its branch with the most
    bytes.
    """
    instructions = itertools.chain(*program.computations.values())
    kernels_of_each_loop = []
    for instruction in instructions:
        if instruction.opcode == "while":
            for body in program.called_by(instruction, "body"):
                kernels_of_each_loop.append(list(_kernels_in(program, body)))
    if not kernels_of_each_loop:
        return list(_kernels_in(program, program.entry))
    return max(kernels_of_each_loop, key=len)


def totals_by_kind(kernels: Sequence[Kernel]) -> list[KindTotal]:
    """Return the number and the bytes of each kind of kernels, most bytes first."""
    kernels_by_kind: defaultdict[str, list[Kernel]] = defaultdict(list)
    for kernel in kernels:
        kernels_by_kind[kernel.kind].append(kernel)
    totals = [
        KindTotal(kind, len(kernels_of_kind), _bytes_together(kernels_of_kind))
        for kind, kernels_of_kind in kernels_by_kind.items()
    ]
    return sorted(totals, key=lambda total: -total.bytes)


def _bytes_together(kernels: Sequence[Kernel]) -> int:
    return sum(kernel.bytes for kernel in kernels)


def _kernels_in(program: ProgramText, computation: str) -> Iterator[Kernel]:
    """Yield the kernels of a computation and of the computations that it calls.

    Of the branches of a conditional, only the branch with the most bytes counts.
    """
    instructions = program.computations[computation]
    instruction_of_name = {instruction.name: instruction for instruction in instructions}
    for instruction in instructions:
        if instruction.opcode in ("while", "call", "async-start"):
            for called_name in program.called_by(instruction, "body", "to_apply", "calls"):
                yield from _kernels_in(program, called_name)
        elif instruction.opcode == "conditional":
            branch_names = program.called_by(instruction)
            kernels_of_branches = [list(_kernels_in(program, name)) for name in branch_names]
            for kernel in max(kernels_of_branches, key=_bytes_together):
                yield dataclasses.replace(kernel, in_branch=True)
        elif _is_kernel(instruction):
            operand_names = [name for name in instruction.operands if name in instruction_of_name]
            operands = [instruction_of_name[name] for name in operand_names]
            kind = _kind_of_kernel(program, instruction)
            yield Kernel(instruction.name, kind, _moved_bytes(program, instruction, operands))


def _is_kernel(instruction: Instruction) -> bool:
    """Return whether an instruction other than a loop, call or conditional is a kernel."""
    if instruction.opcode in _OPCODES_WITHOUT_DATA:
        return False
    if instruction.custom_call_target in _CUSTOM_CALLS_WITHOUT_DATA:
        return False
    continues_earlier_kernel = instruction.opcode.endswith(("-done", "-update"))
    if continues_earlier_kernel:
        return False
    is_work_of_scalar_unit = instruction.is_scalar and instruction.opcode not in _KERNEL_OPCODES
    return not is_work_of_scalar_unit


def _moved_bytes(
    program: ProgramText, instruction: Instruction, operands: Sequence[Instruction]
) -> int:
    """Return how many bytes an instruction reads from its operands and writes to its result."""
    read_bytes = 0
    for operand_index, operand in enumerate(operands):
        bytes_of_parts = _bytes_read_in_parts(program, instruction, operand_index)
        if bytes_of_parts is None:
            read_bytes += operand.bytes
        else:
            read_bytes += min(bytes_of_parts, operand.bytes)
    if instruction.opcode.endswith("-start"):  # its type repeats the operands
        return read_bytes + _bytes_written_after_start(instruction, read_bytes)
    return read_bytes + instruction.bytes - _workspace_bytes(instruction)


def _workspace_bytes(instruction: Instruction) -> int:
    """Return the bytes of scratch memory that an instruction returns beside its result.

    Only functions of cuDNN and cuBLAS return scratch memory.
    """
    if not instruction.custom_call_target.startswith(_LIBRARIES_WITH_WORKSPACE):
        return 0
    *_, last_type = instruction.result_type.rstrip(")").split(", ")
    return instruction.array_bytes[-1] if last_type.startswith(_WORKSPACE_TYPE) else 0


def _bytes_written_after_start(start: Instruction, read_bytes: int) -> int:
    """Return how many bytes an operation writes, given its first instruction.

    `start` is this instruction, such as "copy-start". The operation reads `read_bytes` bytes.
    """
    if start.opcode == "copy-start":  # its result is (copy, original, context)
        bytes_of_copy, *_ = start.array_bytes
        return bytes_of_copy
    return read_bytes  # it writes as many bytes as it reads


def _bytes_read_in_parts(
    program: ProgramText, instruction: Instruction, operand_index: int
) -> int | None:
    """Return how many bytes of an operand an instruction reads, if it does not read all of them.

    `operand_index` is the operand's number, from 0. Return None if all bytes are read.
    """
    if instruction.opcode in _OPCODES_READING_PARTS:
        operand_has_indices = operand_index > 0  # the first operand is the array
        return None if operand_has_indices else instruction.bytes
    if instruction.opcode != "fusion":
        return None
    for fused_name in program.called_by(instruction, "calls"):
        users = _users_of_parameter(operand_index, program.computations[fused_name])
        all_read_parts = all(user.opcode in _OPCODES_READING_PARTS for user in users)
        if users and all_read_parts:
            return sum(user.bytes for user in users)
    return None


def _users_of_parameter(index: int, instructions: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions of a computation that use its parameter number `index`."""
    users = []
    for instruction in instructions:
        if instruction.parameter_index == index:
            users += _final_users(instruction.name, instructions)
    return users


def _final_users(name: str, instructions: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions that use the value `name`, directly or through a "bitcast" of it."""
    users = []
    for user in users_of(name, instructions):
        if user.opcode == "bitcast":
            users += _final_users(user.name, instructions)
        else:
            users.append(user)
    return users


def _kind_of_kernel(program: ProgramText, instruction: Instruction) -> str:
    """Return the kind of work of a kernel, such as "convolution" or "elementwise"."""
    if instruction.opcode == "custom-call":
        library_function = instruction.custom_call_target.lower()
        for word, kind in _KIND_OF_LIBRARY_WORD.items():
            if word in library_function:
                return kind
        return instruction.custom_call_target or instruction.opcode
    opcodes = set(_opcodes(program, instruction))
    for kind, opcodes_of_kind in _OPCODES_OF_KINDS:
        if opcodes & opcodes_of_kind:
            return kind
    if opcodes <= _CONVERSION_OPCODES:
        return "transposition or copy" if opcodes & _MOVE_OPCODES else "conversion"
    return "elementwise"


def _opcodes(program: ProgramText, instruction: Instruction) -> Iterator[str]:
    """Yield XLA's names of the operations in an instruction: its own, or all that it fuses."""
    fused_names = list(program.called_by(instruction, "calls"))
    if not fused_names:
        yield instruction.opcode.removesuffix("-start")
    for fused_name in fused_names:
        for fused_instruction in program.computations[fused_name]:
            yield from _opcodes(program, fused_instruction)
