"""Parse the text of a program that XLA has compiled (HLO) into computations and instructions."""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

_ARRAY = re.compile(r"\b(pred|[a-z]+(\d+)\w*)\[([\d,]*)\](\{[^}]*\})?")
_HEADING = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME = re.compile(r"%([\w.\-]+)")
_CALLED = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation)"
    r"=(\{[^}]*\}|%[\w.\-]+)"
)
_CUSTOM_TARGET = re.compile(r'\bcustom_call_target="([^"]*)"')
# In the layout of an array: it lies in a chip's fast memory, not in its main memory.
_FAST_MEMORY = re.compile(r"S\([1-9]\d*\)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One operation of a compiled program.

    Attributes:
      name: the name of its result.
      type: the type of its result, as XLA writes it, with layouts.
      opcode: XLA's name of the operation, such as "fusion".
      operands: names of the results that the operation takes.
      parameter: for a parameter of a computation, its index in the call; else None.
      called: kind of a call (such as "body") -> names of the called computations.
      target: the name of a library's function if the operation is a custom call, else "".
      is_root: True if this is the result of its computation.
    """

    name: str
    type: str
    opcode: str
    operands: tuple[str, ...]
    parameter: int | None
    called: dict[str, tuple[str, ...]]
    target: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Bytes of the result in main memory."""
        return sum(_array_bytes(array) for array in _ARRAY.finditer(self.type))

    @property
    def is_scalar(self) -> bool:
        """True if the result is a single number, or a tuple of single numbers."""
        shapes = [array[3] for array in _ARRAY.finditer(self.type)]
        return not any(shapes)

    @property
    def array_bytes(self) -> list[int]:
        """Bytes of each array of the result in main memory; several arrays form a tuple."""
        return [_array_bytes(array) for array in _ARRAY.finditer(self.type)]


def _array_bytes(array: re.Match[str]) -> int:
    """Return the bytes of main memory that an array takes; 0 for an array in fast memory.

    `array` is the match of a type such as "f32[128,10]{1,0}".
    """
    dtype, bits, shape, layout = array.groups()
    if layout and _FAST_MEMORY.search(layout):
        return 0
    elements = math.prod(int(size) for size in shape.split(",") if size)
    bits_of_element = 8 if dtype == "pred" else int(bits)
    return elements * bits_of_element // 8


@dataclasses.dataclass(frozen=True)
class ProgramText:
    """A compiled program.

    Attributes:
      computations: name of a computation -> its instructions, in order.
      entry: name of the computation that the program begins with.
    """

    computations: dict[str, list[Instruction]]
    entry: str

    def called_by(self, instruction: Instruction, *kinds: str) -> Iterator[str]:
        """Yield the names of the computations in this program that an instruction calls.

        Args:
          instruction: the instruction.
          kinds: kinds of calls, such as "body"; all kinds if none is given.
        """
        for kind, names in instruction.called.items():
            if not kinds or kind in kinds:
                yield from (name for name in names if name in self.computations)


def read_program(text: str) -> ProgramText:
    """Parse the text of a compiled program.

    Args:
      text: the program as XLA writes it, from `Compiled.as_text()`.

    Raises:
      ValueError: the text has no entry computation.
    """
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] | None = None
    entry = None
    for line in text.splitlines():
        heading, instruction = _HEADING.match(line), _INSTRUCTION.match(line)
        if heading:
            entry_keyword, name = heading.groups()
            current = computations.setdefault(name, [])
            if entry_keyword:
                entry = name
        elif line.startswith("}"):
            current = None
        elif instruction and current is not None:
            current.append(_parse_instruction(instruction))
    if entry is None:
        raise ValueError("this is not the text of a compiled program: it has no ENTRY")
    return ProgramText(computations, entry)


def _parse_instruction(line: re.Match[str]) -> Instruction:
    """Return the instruction in a line `NAME = TYPE OPCODE(OPERANDS), ATTRIBUTES`."""
    root, name, rest = line.groups()
    type_end = _closing_bracket(rest, 0) + 1 if rest.startswith("(") else rest.find(" ")
    result_type, operation = rest[:type_end], rest[type_end:].strip()
    opcode, _, _ = operation.partition("(")
    operands_end = _closing_bracket(operation, len(opcode))
    operands, attributes = operation[len(opcode) + 1 : operands_end], operation[operands_end:]
    called = {}
    for kind, names_text in _CALLED.findall(attributes):
        names = _NAME.findall(names_text) or [names_text.strip("{}")]
        called[kind] = tuple(names)
    target = _CUSTOM_TARGET.search(attributes)
    return Instruction(
        name=name,
        type=result_type,
        opcode=opcode,
        operands=tuple(_NAME.findall(operands)),
        parameter=int(operands) if opcode == "parameter" else None,
        called=called,
        target=target[1] if target else "",
        is_root=root is not None,
    )


def _closing_bracket(text: str, start: int) -> int:
    """Return the index of the bracket that closes the one at `start`, or the text's last index."""
    depth = 0
    for index in range(start, len(text)):
        if text[index] == "(":
            depth += 1
        elif text[index] == ")":
            depth -= 1
            if depth == 0:
                return index
    return len(text) - 1


def users_of(name: str, instructions: Sequence[Instruction]) -> list[Instruction]:
    """Return the instructions that take the result of the instruction `name` as an operand."""
    return [instruction for instruction in instructions if name in instruction.operands]
