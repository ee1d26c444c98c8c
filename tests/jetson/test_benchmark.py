"""The benchmark of an export: what it reads of a machine, what it counts, what it writes."""

import json
import shutil
import stat
from types import SimpleNamespace

import pytest

from jetson import device, power, report, roofline

# What tegrastats printed on real boards, as their owners published it; loads are left out.
NANO_6 = (
    "11-15-2024 08:38:09 RAM 6185/7620MB (lfb 8x2MB) SWAP 851/3810MB (cached 1MB) CPU [15%@729] "
    "EMC_FREQ 43%@2133 GR3D_FREQ 63%@[621] APE 200 cpu@53.968C tj@53.968C "
    "VDD_IN 12479mW/12400mW VDD_CPU_GPU_CV 4667mW/4667mW VDD_SOC 2817mW/2817mW"
)
AGX_6 = (
    "03-17-2024 18:54:10 RAM 10239/62841MB (lfb 442x4MB) GR3D_FREQ 0% tj@37.5C "
    "VDD_GPU_SOC 1592mW/1592mW VDD_CPU_CV -398mW/-398mW VIN_SYS_5V0 2624mW/2624mW "
    "VDDQ_VDD2_1V8AO 403mW/403mW"
)
NANO_7 = (
    "10-01-2026 20:36:32 RAM 974/7546MB (lfb 6x4MB) GR3D_FREQ 12% cpu@49.843C/49.843C "
    "VDD_IN 4548mW/4500mW/4600mW VDD_CPU_GPU_CV 483mW/483mW/483mW VDD_SOC 1489mW/1489mW/1489mW"
)
THOR_7 = (
    "07-02-2026 13:45:44 RAM 36529/125749MB (lfb 12x4MB) cpu@60.406C gpu@62.906C "
    "VDD_GPU 37528mW/37528mW/37528mW VDD_CPU_SOC_MSS 18961mW/18961mW/18961mW "
    "VIN_SYS_5V0 18331mW/18331mW/18331mW VIN 87426mW/43713mW/87426mW"
)
NANO = "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super"


@pytest.mark.parametrize(
    "line, watts, rails",
    [(NANO_6, 12.479, 3), (AGX_6, 3.818, 4), (NANO_7, 4.548, 3), (THOR_7, 87.426, 4)],
    ids=["Orin Nano, 6", "AGX Orin, 6", "Orin Nano, 7.2", "AGX Thor, 7.2"],
)
def test_watts_are_those_of_the_whole_board(line, watts, rails):
    found = power.rails(line)
    assert len(found) == rails and power.total(found) == pytest.approx(watts)


def test_sensors_are_read_where_there_are_any(tmp_path):
    chip, other = tmp_path / "hwmon3", tmp_path / "hwmon0"
    for folder, files in (
        (other, {"name": "nvme", "in1_label": "VDD", "in1_input": "1", "curr1_input": "1"}),
        (
            chip,
            {"name": "ina3221\n", "in1_label": "VDD_IN\n", "in1_input": "5016\n",
             "curr1_input": "1200\n", "in7_label": "sum of shunt voltages", "in7_input": "8"},
        ),
    ):  # fmt: skip
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
    assert power.sensors(tmp_path) == {"VDD_IN": pytest.approx(6019.2)}


def test_a_meter_listens_to_tegrastats_and_ends_it(tmp_path, monkeypatch):
    program = tmp_path / "tegrastats"
    program.write_text(f"#!/bin/sh\nwhile :; do echo '{NANO_7}'; sleep 0.02; done\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(power, "sensors", lambda: {})
    with power.Meter(0.05) as meter:
        pass
    assert meter.watts == pytest.approx(4.548) and meter.process.returncode is not None


def test_without_sensors_there_are_no_watts(monkeypatch):
    monkeypatch.setattr(power, "sensors", lambda: {})
    monkeypatch.setenv("PATH", "")
    with power.Meter() as meter:
        pass
    assert meter.watts is None


@pytest.mark.parametrize(
    "l4t, jetpack",
    [
        ("36.4.7", "6.2.1"),
        ("36.4.3", "6.2"),
        ("38.4.0", "7.1"),
        ("39.2.0", "7.2"),
        ("35.1", "unknown"),
    ],
)
def test_jetpack_is_named(l4t, jetpack):
    assert device.jetpack(l4t) == jetpack


@pytest.mark.parametrize(
    "mode, name", [("15W", "Orin Nano 8GB, 15 W"), ("MAXN_SUPER", "Orin Nano 8GB, Super")]
)
def test_a_device_is_recognised_with_its_mode(tmp_path, mode, name):
    for path, text in (("proc/device-tree/model", NANO + "\0"),
                       ("etc/nv_tegra_release", "# R36 (release), REVISION: 4.4, GCID: 4, BOARD")):  # fmt: skip
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_text(text)
    facts = device.described(tmp_path, lambda *words: f"NV Power Mode: {mode}\n0\n")
    assert facts["machine"] == NANO and facts["jetpack"] == "6.2.1 (L4T 36.4.4)"
    assert device.limits(facts)[2] == name
    assert device.limits({"machine": "a PC"}) is None
    with pytest.raises(ValueError, match="no device 'Nano'; there are Orin Nano 8GB, 15 W; "):
        device.limits(facts, "Nano")


def test_work_is_what_torch_counts():
    """On networks of all kinds; torch's own counter leaves out what is no product of matrices."""
    torch = pytest.importorskip("torch", reason="torch counts")
    from torch.utils.flop_counter import FlopCounterMode

    from jetson import convert, models

    sizes = dict(hidden_size=32, depth=2, num_heads=2)
    text, ids = (
        dict(features=50, vocab_size=50, max_seq_len=10, d_ff=48),
        torch.ones(1, 10, 3).long(),
    )
    for name, fields, *x in (
        ("dit", dict(shape=(8, 8, 1), patch_size=2), torch.zeros(1, 8, 8, 1)),
        ("transformer", text, ids[..., 0]),
        ("candidates", text, ids, torch.ones(1, 10, 3)),
    ):  # fmt: skip
        network = models.create(name, **sizes, **fields)
        modulation = network.modulation(torch.ones(1)).detach()
        with torch.no_grad(), FlopCounterMode(display=False) as counted:
            network.body(*x, modulation)
        flat = convert.to_flax(network)
        read = sum(a.size for key, a in flat.items() if roofline.in_body(key))
        tokens = 16 if name == "dit" else 10
        flop = 2 * read * tokens + 4 * tokens**2 * 32 * 2
        biases = (
            2 * tokens * sum(a.size for k, a in flat.items() if a.ndim == 1 and roofline.in_body(k))
        )
        assert flop - biases == counted.get_total_flops()


def test_a_benchmark_says_how_fast_and_leaves_three_files(exported, script):
    for package in ("torch", "onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason="exports want '.[edge]'")
    folder = exported["text"][1]
    words = ["--load_dir", folder, "--benchmark", "--seconds", 0.05, "--backend", "onnxruntime"]
    refusal, said = script("jetson/inference.py", *words, "--num_steps", "4,12")
    assert not refusal
    left = folder / "benchmark"
    assert {p.suffix for p in left.iterdir()} >= {".json", ".txt"}
    found = json.loads((left / "benchmark.json").read_text())
    assert [(r["precision"], r["steps"]) for r in found["rows"]] == [
        (precision, steps) for precision in ("fp32", "fp16") for steps in (4, 12)
    ]
    for row in found["rows"]:
        assert row["rate"] == pytest.approx(1e3 * 10 / row["ms_p50"])
        assert 0 < row["ms_network"] < row["ms_p95"] and row["calls"] == row["steps"]
        assert 0 < row["share"] < 1 and row["mib"] > 20
    assert (left / "benchmark.txt").read_text() in said and "of roofline" in said
    for words, message in (
        (["--num_steps", "4,13"], "--num_steps 13: this export has the noise levels of 12"),
        (["--seq_length", "128"], "the rows of an export have one length, here 10 tokens"),
        (["--device", "Nano"], "no device 'Nano'"),
        (["--backend", "tpu", "--precision", "fp32"], "nothing could be measured"),
    ):
        refusal, said = script("jetson/inference.py", "--load_dir", folder, "--benchmark", *words,
                               "--seconds", 0.01)  # fmt: skip
        assert message in refusal


def test_a_whole_generation_is_timed_as_one_and_says_that_nothing_was_captured(
    exported, script, tmp_path
):
    pytest.importorskip("torch", reason="a graph is captured of torch's work")
    for kind, calls, batch in (("text", 4, 1), ("images", 7, 2)):  # Heun's second slopes; guidance
        folder = shutil.copytree(exported[kind][1], tmp_path / kind)
        words = ["--benchmark", "--seconds", 0.05, "--backend", "graph", "--num_steps", 4]
        words += ["--solver", "heun"] if kind == "images" else ["--solver", "confidence"]
        refusal, said = script("jetson/inference.py", "--load_dir", folder, *words)
        assert not refusal
        assert (
            "graph fp16: no CUDA here: torch does what the kernels would do; no CUDA graph" in said
        )
        found = json.loads((folder / "benchmark" / "benchmark.json").read_text())
        assert [row["precision"] for row in found["rows"]] == ["fp32", "fp16"]
        for row in found["rows"]:
            assert (row["calls"], row["batch"], row["ms_network"]) == (calls, batch, None)
            assert row["rate"] == pytest.approx((10e3 if kind == "text" else 1e3) / row["ms_p50"])


@pytest.mark.parametrize("counts", [[25], [10, 25]])
def test_the_picture_has_bars_of_one_number_of_steps_and_lines_over_several(counts):
    pytest.importorskip("matplotlib", reason="pictures want it")
    kinds = [("torch", "fp32"), ("torch", "fp16"), ("graph", "fp16")]
    rows = [
        {"backend": b, "precision": p, "steps": c, "rate": 100.0 * (i + 1) / c, "samples": 1}
        for i, (b, p) in enumerate(kinds)
        for c in counts
    ]
    package = SimpleNamespace(config={"kind": "text"})
    figure = report.figure(package, {"rows": rows, "facts": {"machine": "a PC"}})
    (axes,) = figure.axes
    if len(counts) == 1:
        assert [bar.get_width() for bar in axes.patches] == [4.0, 8.0, 12.0] and not axes.lines
        assert [t.get_text() for t in axes.get_yticklabels()] == [" ".join(k) for k in kinds]
        assert "25 steps" in figure.get_suptitle()
    else:
        drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert drawn["graph fp16"] == [30.0, 12.0] and len(drawn) == 3 and not axes.patches
        assert list(axes.get_xticks()) == counts
