"""Features are computed by all devices of all processes, and are those of one."""

import numpy as np
import pytest

from tests import group
from tests.utils.measurer import BATCH, IMAGES, KEPT, MEET

pytestmark = pytest.mark.slow


def known(out, process=0):
    with np.load(out / f"{process}.npz") as file:
        return {name: file[name] for name in file}


def as_direct(found):
    """Whether sums and rows are those that numpy finds, in float64 and in the images' order."""
    x = np.random.default_rng(0).integers(0, 256, (IMAGES, 2, 2, 3), np.uint8)
    flat = x.reshape(IMAGES, -1).astype(np.float32) / 64
    np.testing.assert_array_equal(found["pool"], flat[:KEPT])
    np.testing.assert_array_equal(found["logits"], flat[:KEPT, :3] ** 2)
    for name, of in (("", flat), ("spatial_", flat[:, :5] + 100)):
        of = of.astype(np.float64)
        np.testing.assert_allclose(found[f"{name}mean"], of.mean(0), rtol=1e-12)
        np.testing.assert_allclose(found[f"{name}covariance"], np.cov(of.T), rtol=1e-9, atol=1e-9)
    assert found["n"] == IMAGES


def test_the_split_over_devices_and_processes_leaves_no_mark(tmp_path):
    hashes = set()
    for processes, devices in ((1, 4), (2, 2)):
        out = tmp_path / f"{processes}x{devices}"
        out.mkdir()
        group.finished(group.start(processes, devices, "tests/utils/measurer.py", out))
        for process in range(processes):
            found = known(out, process)
            assert found["devices"] == 4 and found["first"] == 0
            as_direct(found)
        hashes.add(known(out)["hash"].item())
        assert not (out / "part.npz").exists()
    assert len(hashes) == 1 and "" not in hashes


@pytest.mark.parametrize("trouble, code", [("die_at", 9), ("fail_at", 1)])
def test_one_process_ends_them_all_and_the_same_command_goes_on(tmp_path, trouble, code):
    both = group.start(2, 2, "tests/utils/measurer.py", tmp_path, f"{trouble}=7")
    said = [run.communicate(timeout=120)[0] for run in both]  # none waits for ever
    assert both[0].returncode != 0 and both[1].returncode == code
    if trouble == "fail_at":
        assert "measurer.py: images are broken" in said[1] and "Traceback" not in said[1]
        return
    group.finished(group.start(2, 2, "tests/utils/measurer.py", tmp_path))
    for process in (0, 1):
        found = known(tmp_path, process)
        assert found["first"] == MEET * BATCH
        as_direct(found)
