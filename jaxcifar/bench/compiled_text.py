"""Parse the text of a program that XLA has compiled (HLO) into computations and instructions."""

import dataclasses
import math
import re
from collections.abc import Iterator, Sequence

_ARRAY_PATTERN = re.compile(
    r"\b(?P<dtype>pred|[a-z]+(?P<bits>\d+)\w*)\[(?P<shape>[\d,]*)\](?P<layout>\{[^}]*\})?"
)
_HEADING_PATTERN = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION_PATTERN = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = (.*)$")
_NAME_PATTERN = re.compile(r"%([\w.\-]+)")
_CALL_PATTERN = re.compile(
    r"\b(calls|to_apply|body|condition|branch_computations|true_computation|false_computation)"
    r"=(\{[^}]*\}|%[\w.\-]+)"
)
_CUSTOM_TARGET_PATTERN = re.compile(r'\bcustom_call_target="([^"]*)"')
# In the layout of an array: it lies in a chip's fast memory, not in its main memory.
_FAST_MEMORY_PATTERN = re.compile(r"S\([1-9]\d*\)")


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One operation of a compiled program.

    Attributes:
      name: the name of its result.
      result_type: the type of its result, as XLA writes it, with layouts.
      opcode: XLA's name of the operation, such as "fusion".
      operands: names of the results that the operation takes.
      parameter_index: for a parameter of a computation, its index in the call; else None.
      called_computations: kind of a call (such as "body") -> names of the called computations.
      custom_call_target: the name of the library's function that a custom call calls, else "".
      is_root: True if this is the result of its computation.
    """

    name: str
    result_type: str
    opcode: str
    operands: tuple[str, ...]
    parameter_index: int | None
    called_computations: dict[str, tuple[str, ...]]
    custom_call_target: str
    is_root: bool

    @property
    def bytes(self) -> int:
        """Bytes of the result in main memory."""
        return sum(self.array_bytes)

    @property
    def is_scalar(self) -> bool:
        """True if the result is a single number, or a tuple of single numbers."""
        shapes = [array["shape"] for array in _ARRAY_PATTERN.finditer(self.result_type)]
        return not any(shapes)

    @property
    def array_bytes(self) -> list[int]:
        """Bytes of each array of the result in main memory; several arrays form a tuple."""
        return [_array_bytes(array) for array in _ARRAY_PATTERN.finditer(self.result_type)]


def _array_bytes(array: re.Match[str]) -> int:
    """Return how many bytes an array takes in a chip's main memory; 0 if it is in fast memory.

    `array` is the match of a type such as "f32[128,10]{1,0}".
    """
    layout = array["layout"]
    if layout and _FAST_MEMORY_PATTERN.search(layout):
        return 0
    axis_sizes = [int(axis_size) for axis_size in array["shape"].split(",") if axis_size]
    bits_of_element = 8 if array["dtype"] == "pred" else int(array["bits"])
    return math.prod(axis_sizes) * bits_of_element // 8


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
        for kind, names in instruction.called_computations.items():
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
    # The instructions of the computation that the line is in; None between computations.
    current_computation: list[Instruction] | None = None
    entry = None
    for line in text.splitlines():
        heading_match = _HEADING_PATTERN.match(line)
        instruction_match = _INSTRUCTION_PATTERN.match(line)
        if heading_match:
            entry_keyword, name = heading_match.groups()
            current_computation = computations.setdefault(name, [])
            if entry_keyword:
                entry = name
        elif line.startswith("}"):
            current_computation = None
        elif instruction_match and current_computation is not None:
            current_computation.append(_parse_instruction(instruction_match))
    if entry is None:
        raise ValueError(
            "this is not the text of a compiled program, because it has no ENTRY; pass the result "
            "of Compiled.as_text()"
        )
    return ProgramText(computations, entry)


def _parse_instruction(line_match: re.Match[str]) -> Instruction:
    """Return the instruction in a line `NAME = TYPE OPCODE(OPERANDS), ATTRIBUTES`."""
    root_keyword, name, definition = line_match.groups()
    type_end = _end_of_type(definition)
    result_type, operation = definition[:type_end], definition[type_end:].strip()
    opcode, _, _ = operation.partition("(")
    opening_bracket = len(opcode)
    closing_bracket = _closing_bracket(operation, opening_bracket)
    operands_text = operation[opening_bracket + 1 : closing_bracket]
    attributes = operation[closing_bracket:]
    is_parameter = opcode == "parameter"  # with its index in brackets, as in parameter(2)
    target_match = _CUSTOM_TARGET_PATTERN.search(attributes)
    return Instruction(
        name=name,
        result_type=result_type,
        opcode=opcode,
        operands=tuple(_NAME_PATTERN.findall(operands_text)),
        parameter_index=int(operands_text) if is_parameter else None,
        called_computations=_find_called_computations(attributes),
        custom_call_target=target_match[1] if target_match else "",
        is_root=root_keyword is not None,
    )


def _end_of_type(definition: str) -> int:
    """Return the index after the type of the result, with which `definition` begins."""
    is_tuple = definition.startswith("(")
    if is_tuple:
        return _closing_bracket(definition, 0) + 1
    return definition.find(" ")


def _find_called_computations(attributes: str) -> dict[str, tuple[str, ...]]:
    """Return the names of the computations that an instruction calls, by the kind of the call.

    `attributes` is the text after the instruction's operands, such as ", body=%b, condition=%c".
    """
    called_computations = {}
    for kind, names_text in _CALL_PATTERN.findall(attributes):
        names = _NAME_PATTERN.findall(names_text)
        names_have_no_percent_sign = not names
        if names_have_no_percent_sign:
            names = [names_text.strip("{}")]
        called_computations[kind] = tuple(names)
    return called_computations


def _closing_bracket(text: str, opening_bracket: int) -> int:
    """Return the index of the ")" that closes the "(" at index `opening_bracket`.

    If no bracket closes it, return the last index of the text.
    """
    depth = 0
    for index in range(opening_bracket, len(text)):
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
