"""Programs for devices that are not here: reading XLA's text, the limits, and the command."""

import importlib.util
import json
import math

import jax
import pytest
from conftest import assert_one_line_error, command, obeyed

from jaxcifar.bench import absent_devices, cuda_plugin
from jaxcifar.bench.absent_devices import EXAMPLES, Target, compiler_version
from jaxcifar.bench.absent_program import AbsentProgram
from jaxcifar.bench.compiled_text import read_program
from jaxcifar.bench.device_traffic import Collective
from jaxcifar.bench.step_costs import Kernel, KindTotal, step_kernels, totals_by_kind
from jaxcifar.errors import UsageError

# A step on a GPU: a loop whose body gathers a batch, converts weights and transposes them,
# convolves by a library that asks for scratch memory, sums over channels, and exchanges the sums.
GPU = """
HloModule jit_train_steps, is_scheduled=true, entry_computation_layout={(f32[2]{0})->f32[2]{0}}

%add (x: f32[], y: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %y = f32[] parameter(1)
  ROOT %sum = f32[] add(%x, %y)
}

%fused_gather (all: u8[45000,32,32,3], chosen: s32[8]) -> f32[8,32,32,3] {
  %chosen = s32[8]{0} parameter(1)
  %all = u8[45000,32,32,3]{3,2,1,0} parameter(0)
  %same = u8[45000,3072]{1,0} bitcast(%all)
  %batch = u8[8,3072]{1,0} gather(%same, %chosen), offset_dims={1}
  ROOT %floats = f32[8,32,32,3]{3,2,1,0} convert(%batch)
}

%fused_convert (weights: f32[3,3,3,16]) -> bf16[3,3,3,16] {
  %weights = f32[3,3,3,16]{3,2,1,0} parameter(0)
  ROOT %converted = bf16[3,3,3,16]{3,2,1,0} convert(%weights)
}

%fused_transpose (weights.1: bf16[3,3,3,16]) -> bf16[16,3,3,3] {
  %weights.1 = bf16[3,3,3,16]{3,2,1,0} parameter(0)
  ROOT %transposed = bf16[16,3,3,3]{3,2,1,0} transpose(%weights.1), dimensions={3,0,1,2}
}

%fused_reduce (maps: bf16[8,32,32,16]) -> f32[16] {
  %maps = bf16[8,32,32,16]{3,2,1,0} parameter(0)
  %zero = f32[] constant(0)
  %wide = f32[8,32,32,16]{3,2,1,0} convert(%maps)
  ROOT %sums = f32[16]{0} reduce(%wide, %zero), dimensions={0,1,2}, to_apply=%add
}

%body (state: (f32[3,3,3,16], u8[45000,32,32,3], s32[8])) -> (f32[3,3,3,16], u8[45000,32,32,3], s32[8]) {
  %state = (f32[3,3,3,16]{3,2,1,0}, u8[45000,32,32,3]{3,2,1,0}, /*index=2*/s32[8]{0}) parameter(0)
  %kernel = f32[3,3,3,16]{3,2,1,0} get-tuple-element(%state), index=0
  %images = u8[45000,32,32,3]{3,2,1,0} get-tuple-element(%state), index=1
  %order = s32[8]{0} get-tuple-element(%state), index=2
  %loop_gather_fusion = f32[8,32,32,3]{3,2,1,0} fusion(%images, %order), kind=kLoop, calls=%fused_gather
  %loop_convert_fusion = bf16[3,3,3,16]{3,2,1,0} fusion(%kernel), kind=kLoop, calls=%fused_convert
  %wrapped_transpose = bf16[16,3,3,3]{3,2,1,0} fusion(%loop_convert_fusion), kind=kInput, calls=%fused_transpose
  %cudnn-conv.1 = (bf16[8,32,32,16]{3,2,1,0}, u8[4096]{0}) custom-call(%loop_gather_fusion, %wrapped_transpose), window={size=3x3 pad=1_1x1_1}, custom_call_target="__cudnn$convForward", metadata={op_name="a (b) c"}
  %outputs = bf16[8,32,32,16]{3,2,1,0} get-tuple-element(%cudnn-conv.1), index=0
  %input_reduce_fusion = f32[16]{0} fusion(%outputs), kind=kInput, calls=%fused_reduce
  %all-reduce-start = f32[16]{0} all-reduce-start(%input_reduce_fusion), to_apply=%add
  %all-reduce-done = f32[16]{0} all-reduce-done(%all-reduce-start)
  ROOT %next = (f32[3,3,3,16]{3,2,1,0}, u8[45000,32,32,3]{3,2,1,0}, s32[8]{0}) tuple(%kernel, %images, %order)
}

%condition (state.1: (f32[3,3,3,16], u8[45000,32,32,3], s32[8])) -> pred[] {
  %state.1 = (f32[3,3,3,16]{3,2,1,0}, u8[45000,32,32,3]{3,2,1,0}, s32[8]{0}) parameter(0)
  ROOT %go_on = pred[] constant(true)
}

%small_body (number: s32[]) -> s32[] {
  %number = s32[] parameter(0)
  ROOT %copy = s32[] copy(%number)
}

ENTRY %main (kernel.1: f32[3,3,3,16], images.1: u8[45000,32,32,3], order.1: s32[8]) -> f32[3,3,3,16] {
  %kernel.1 = f32[3,3,3,16]{3,2,1,0} parameter(0)
  %images.1 = u8[45000,32,32,3]{3,2,1,0} parameter(1)
  %order.1 = s32[8]{0} parameter(2)
  %big_copy = u8[45000,32,32,3]{3,2,1,0} copy(%images.1)
  %tuple = (f32[3,3,3,16]{3,2,1,0}, u8[45000,32,32,3]{3,2,1,0}, s32[8]{0}) tuple(%kernel.1, %big_copy, %order.1)
  %first = s32[] while(s32[] %zero.1), condition=%condition, body=%small_body
  %while = (f32[3,3,3,16]{3,2,1,0}, u8[45000,32,32,3]{3,2,1,0}, s32[8]{0}) while(%tuple), condition=%condition, body=%body
  ROOT %result = f32[3,3,3,16]{3,2,1,0} get-tuple-element(%while), index=0
}
"""  # noqa: E501

# On a TPU layouts have brackets, and S(1) is a chip's fast memory. Branches and calls are followed.
TPU = """
HloModule jit_train_steps

%fused (a: bf16[128,256], b: bf16[256,64]) -> bf16[128,64] {
  %a = bf16[128,256]{1,0:T(8,128)(2,1)} parameter(0)
  %b = bf16[256,64]{1,0:T(8,128)(2,1)S(1)} parameter(1)
  ROOT %product = bf16[128,64]{1,0:T(8,128)(2,1)} convolution(%a, %b), dim_labels=bf_io->bf
}

%small (p: f32[10]) -> f32[10] {
  %p = f32[10]{0:T(128)} parameter(0)
  ROOT %doubled = f32[10]{0:T(128)} add(%p, %p)
}

%large (q: f32[10]) -> f32[10] {
  %q = f32[10]{0:T(128)} parameter(0)
  %once = f32[10]{0:T(128)} add(%q, %q)
  ROOT %twice = f32[10]{0:T(128)} multiply(%once, %q)
}

ENTRY %main (x: bf16[128,256], w: bf16[256,64], v: f32[10], n: s32[]) -> (bf16[128,64], f32[10]) {
  %x = bf16[128,256]{1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[256,64]{1,0:T(8,128)(2,1)} parameter(1)
  %v = f32[10]{0:T(128)} parameter(2)
  %n = s32[]{:T(128)} parameter(3)
  %later = s32[]{:T(128)} add(%n, %n)
  %copy-start = (bf16[256,64]{1,0:T(8,128)(2,1)S(1)}, bf16[256,64]{1,0:T(8,128)(2,1)}, u32[]{:S(2)}) copy-start(%w)
  %copy-done = bf16[256,64]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start)
  %fusion = bf16[128,64]{1,0:T(8,128)(2,1)} fusion(%x, %copy-done), kind=kOutput, calls=%fused
  %either = f32[10]{0:T(128)} conditional(%n, %v, %v), branch_computations={%small, %large}
  ROOT %both = (bf16[128,64]{1,0:T(8,128)(2,1)}, f32[10]{0:T(128)}) tuple(%fusion, %either)
}
"""  # noqa: E501


def test_kernels_of_a_step_and_their_bytes_by_hand():
    kernel, maps = 3 * 3 * 3 * 16, 8 * 32 * 32 * 16
    batch = 8 * 32 * 32 * 3
    assert step_kernels(read_program(GPU)) == [
        # Of the 45,000 images, only the batch is read, and the positions.
        Kernel("loop_gather_fusion", "gathering", batch + 4 * 8 + 4 * batch),
        Kernel("loop_convert_fusion", "conversion", 4 * kernel + 2 * kernel),
        Kernel("wrapped_transpose", "transposition or copy", 2 * kernel + 2 * kernel),
        Kernel("cudnn-conv.1", "convolution", 4 * batch + 2 * kernel + 2 * maps),  # no scratch
        Kernel("input_reduce_fusion", "reduction", 2 * maps + 4 * 16),
        Kernel("all-reduce-start", "exchange between devices", 4 * 16 + 4 * 16),
    ]


def test_what_lies_in_a_chips_fast_memory_is_not_moved_and_the_larger_branch_counts():
    assert step_kernels(read_program(TPU)) == [
        Kernel("copy-start", "transposition or copy", 2 * 256 * 64),  # read, and kept on the chip
        Kernel("fusion", "convolution", 2 * 128 * 256 + 2 * 128 * 64),
        Kernel("once", "elementwise", 4 * 10 * 3, in_branch=True),
        Kernel("twice", "elementwise", 4 * 10 * 3, in_branch=True),
    ]


def test_totals_add_up_the_kernels_of_a_kind():
    kernels = [Kernel("a", "few", 3), Kernel("b", "many", 40), Kernel("c", "few", 4)]
    assert totals_by_kind(kernels) == [KindTotal("many", 1, 40), KindTotal("few", 2, 7)]


def test_a_text_without_an_entry_is_no_program():
    with pytest.raises(ValueError, match="no ENTRY"):
        read_program("%add (x: f32[]) -> f32[] {\n}\n")


@pytest.mark.parametrize(
    ("text", "devices", "title"),
    [
        ("v5e", 1, "1x TPU v5e"),
        ("v5e:2x4", 8, "8x TPU v5e"),
        ("v5p:2x2x4", 16, "16x TPU v5p"),
        ("h100", 1, "1x H100"),
        ("h100:8", 8, "8x H100"),
    ],
)
def test_a_target_has_devices_and_limits(text, devices, title):
    target = Target.parse(text)
    assert (target.device_count, target.title) == (devices, title)
    peaks = {"v5e": (197e12, 819e9), "v5p": (459e12, 2765e9), "h100": (989e12, 3350e9)}
    assert (target.machine.flops, target.chip.bandwidth) == peaks[text.partition(":")[0]]


@pytest.mark.parametrize(
    "text",
    ["", "v9", "v5e:", "v5e:2", "v5e:2x", "v5e:2x2x2", "v5p:2x2", "h100:9", "h100:2x2", "v5e:0x0"],
)
def test_another_target_is_one_line(text):
    with pytest.raises(
        UsageError, match=r"^--target .*: .*; (choose one of|write (a|two|three) number)"
    ):
        Target.parse(text)


def test_every_example_is_a_target():
    assert [Target.parse(text).name for text in EXAMPLES] == list(EXAMPLES)


def test_the_least_time_is_that_calculated_by_hand():
    """10 GB at 819 GB/s, 197 TFLOP at 197 TFLOP/s, two exchanges over rings of two chips."""
    program = AbsentProgram(
        target=Target.parse("v5e:2x2"),
        dtype="bfloat16",
        batch_size=8,
        run_count=1,
        compile_seconds=1.0,
        persistent_bytes=0,
        step_bytes=0,
        flops=197e12,
        kinds=[KindTotal("reduction", 3, 6 * 10**9), KindTotal("conversion", 2, 4 * 10**9)],
        branch_kernels=0,
        exchanged=[Collective("all-reduce", 10**9)] * 2,
        text="",
    )
    assert (program.kernel_count, program.moved_bytes) == (5, 10**10)
    least = program.least_seconds
    assert least["arithmetic"] == pytest.approx(1.0)
    assert least["memory"] == pytest.approx(10 / 819)
    hops = 2 * 2 * math.ceil(1 / 2) * 1e-6
    assert least["exchanges"] == pytest.approx(2 * (hops + 2 * 3 / 4 * 1e9 / 200e9))
    assert json.loads(json.dumps(program.as_record()))["target"] == "v5e:2x2"


@pytest.mark.parametrize(("target", "extra"), [("v5e:2x4", "tpu"), ("h100", "cuda12")])
def test_without_its_compiler_a_line_says_what_to_install(target, extra, monkeypatch):
    for module in (absent_devices, cuda_plugin):
        monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError) as raised:
        compiler_version(Target.parse(target))
    [line] = str(raised.value).splitlines()
    assert line == (
        f"--target {target}: its compiler is not installed; install it (Linux) with: "
        f'pip install "jax[{extra}]=={jax.__version__}"'
    )


def test_bad_options_are_one_line():
    assert_one_line_error(obeyed("compile"), 2, "--target")
    assert_one_line_error(obeyed("compile", "--target", "v7"), 2, "choose one of v5e, v5e:2x4")
    for option in ("--json", "--hlo"):
        done = obeyed("compile", "--target", "v5e", option, "no/such/file")
        assert_one_line_error(done, 2, option, "there is no folder")


OWN = """
from flax import linen as nn

class Net(nn.Module):
    num_classes: int = 1

    @nn.compact
    def __call__(self, images, train):
        x = nn.Conv(8, (3, 3), strides=2, use_bias=False)(images).mean((1, 2))
        x = nn.BatchNorm(use_running_average=not train)(x)
        return nn.Dense(self.num_classes)(x)
"""
NO_TPU_COMPILER = "libtpu, Google's compiler for TPUs, is not installed (extra tpu)"


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason=NO_TPU_COMPILER)
def test_a_program_for_tpus_is_compiled_and_its_figures_are_printed_and_written(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    own, record, text = tmp_path / "own.py", tmp_path / "figures.json", tmp_path / "program.txt"
    done = command(
        *("compile", "--target", "v5e:2x2", "--arch", f"{own}:Net", "--batch-size", "64"),
        *("--json", str(record), "--hlo", str(text)),
        env={"COLUMNS": "200"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    figures = json.loads(record.read_text())
    macs = 16 * 16 * 9 * 3 * 8 + 8 * 10
    assert figures["flops"] == 3 * 2 * macs * 64 / 4  # of a chip's part of the batch
    parameters = 9 * 3 * 8 + 2 * 8 + 8 * 10 + 10
    # Its statistics, then loss, hits and number of images travel with the gradients.
    assert max(c["bytes"] for c in figures["exchanged"]) >= 4 * (parameters + 2 * 8 + 3)
    assert figures["kernel_count"] == sum(total["kernels"] for total in figures["kinds"])
    assert "convolution" in {total["kind"] for total in figures["kinds"]}
    images = 45_000 * 32 * 32 * 3
    assert images < figures["persistent_bytes"] < 3 * images
    assert "4x TPU v5e" in done.stdout and "all-reduces a step" in done.stdout
    assert text.read_text().startswith("HloModule")
