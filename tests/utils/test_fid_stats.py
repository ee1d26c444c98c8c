import pickle
import subprocess
import sys

import numpy as np
import pytest

from utils import fid, fid_stats, pickled_arrays

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((90, 6)) @ rng.standard_normal((6, 6)), rng.standard_normal((50, 9))
MU, SIGMA = X.mean(0), np.cov(X.T)
MU_S, SIGMA_S = Y.mean(0), np.cov(Y.T)
SAYS = {"features": "net@1a2b", "resize": "tf1", "range": "bytes"}


def stats(**more):
    return fid_stats.of(fid.Moments.of(X), **{**SAYS, "source": "ours", **more})


def npz(path, **arrays):
    np.savez(path, **arrays)
    return path


def test_what_is_written_is_read(tmp_path):
    spatial = fid.Moments.of(Y)
    path = tmp_path / "new" / "digits.npz"
    fid_stats.write(path, stats(data_hash="ff00", spatial=spatial))
    got = fid_stats.read(path)
    assert (got.features, got.resize, got.range) == ("net@1a2b", "tf1", "bytes")
    assert (got.data_hash, got.n, got.spatial.n, got.source) == ("ff00", 90, 50, "digits.npz")
    np.testing.assert_allclose(got.covariance, SIGMA, atol=1e-12)
    np.testing.assert_allclose(got.spatial.covariance, SIGMA_S, atol=1e-12)
    assert abs(fid.frechet(got, fid.Moments.of(X))) < 1e-9
    assert fid_stats.comparable(got, stats()) == ""


def test_the_factor_is_read_and_not_made_again(tmp_path, monkeypatch):
    fid_stats.write(tmp_path / "a.npz", stats())
    monkeypatch.setattr(fid, "factor", lambda c: pytest.fail("factored again"))
    got = fid_stats.read(tmp_path / "a.npz")
    assert fid.frechet(got, fid.Moments.of(X * 2)) > 1
    np.testing.assert_allclose(got.chol @ got.chol.T, got.covariance, atol=1e-12)


def test_a_factor_of_another_covariance_is_refused(tmp_path):
    for chol in (np.linalg.cholesky(SIGMA * 1.001), np.eye(5), np.full((6, 6), np.nan)):
        path = npz(tmp_path / "a.npz", mu=MU, sigma=SIGMA, chol=chol)
        with pytest.raises(ValueError, match=r"a.npz: chol .* no factor of sigma"):
            fid_stats.read(path)


def test_statistics_without_full_rank_are_written_and_read(tmp_path):
    few = fid.Moments.of(Y[:5])
    fid_stats.write(tmp_path / "few.npz", fid_stats.of(few))
    got = fid_stats.read(tmp_path / "few.npz")
    assert got.chol.shape == (9, 4) and abs(fid.frechet(got, few)) < 1e-9


FOREIGN = {
    "adm": {"mu": MU, "sigma": SIGMA, "mu_s": MU_S, "sigma_s": SIGMA_S,
            "arr_0": np.zeros((3, 4, 4, 3), np.uint8)},
    "edm": {"mu": MU, "sigma": SIGMA},
    "float32": {"mu": MU.astype(np.float32), "sigma": SIGMA.astype(np.float32)},
    "meanflow": {"ref_mu": MU, "ref_sigma": SIGMA},
}  # fmt: skip


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_read_and_say_nothing(name, tmp_path):
    got = fid_stats.read(npz(tmp_path / f"{name}.npz", **FOREIGN[name]))
    np.testing.assert_allclose(got.mean, MU, rtol=1e-6)
    np.testing.assert_allclose(got.covariance, SIGMA, rtol=1e-5, atol=1e-6)
    assert (got.n, got.features, got.resize, got.range) == (None,) * 4
    assert (got.spatial is not None) == (name == "adm")
    warning = fid_stats.comparable(got, stats())
    assert f"{name}.npz does not say its features, resize, range" in warning
    assert "ours" not in warning


def test_what_is_written_pytorch_fid_reads(tmp_path, peer):
    score = peer("pytorch_fid.fid_score")
    fid_stats.write(tmp_path / "ours.npz", stats(spatial=fid.Moments.of(Y)))
    mean, covariance = score.compute_statistics_of_path(str(tmp_path / "ours.npz"), *[None] * 4)
    np.testing.assert_allclose(mean, MU, atol=1e-12)
    np.testing.assert_allclose(covariance, SIGMA, atol=1e-12)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("order", "CF")
def test_pickles_of_edm2_are_read(protocol, order, tmp_path):
    tree = {
        "fid": {"mu": MU, "sigma": np.asarray(SIGMA, order=order), "num_images": np.int64(90)},
        "features": np.asarray(X, order=order),
        "fd_dinov2": {"mu": MU_S.astype(np.float32), "sigma": SIGMA_S},
    }
    path = tmp_path / "edm2.pkl"
    path.write_bytes(pickle.dumps(tree, protocol=protocol))
    np.testing.assert_array_equal(fid_stats.read(path).covariance, (SIGMA + SIGMA.T) / 2)
    dino = fid_stats.read(path, metric="fd_dinov2")
    np.testing.assert_array_equal(dino.mean, MU_S.astype(np.float32))
    np.testing.assert_array_equal(pickled_arrays.read(path)["features"], X)
    assert pickled_arrays.read(path)["fid"]["num_images"] == 90
    with pytest.raises(
        ValueError, match="no statistics 'clip'; there are fid, features, fd_dinov2"
    ):
        fid_stats.read(path, metric="clip")


class Call:
    def __init__(self, *what):
        self.what = what

    def __reduce__(self):
        return self.what[0], self.what[1:]


def test_a_pickle_that_would_run_something_is_refused_and_runs_nothing(tmp_path):
    path, mark = tmp_path / "evil.pkl", tmp_path / "mark"
    for call in (
        Call(subprocess.check_call, ["touch", str(mark)]),
        Call(eval, f"open({str(mark)!r}, 'w')"),
        Call(np.load, str(path)),
        Call(getattr, "text", "upper"),
    ):
        path.write_bytes(pickle.dumps({"fid": {"mu": call, "sigma": SIGMA}}))
        with pytest.raises(ValueError, match=r"evil.pkl .* it names"):
            fid_stats.read(path)
    assert not mark.exists()


def test_a_pickle_with_false_arrays_is_refused(tmp_path):
    path = tmp_path / "odd.pkl"
    whole = pickle.dumps({"fid": {"mu": MU, "sigma": SIGMA}})
    cases = [
        whole[:200],
        b"",
        pickle.dumps({"fid": {"mu": np.array([None, 1]), "sigma": SIGMA}}),
        whole.replace(MU.tobytes(), MU.tobytes()[:-8] + b"").replace(b"C0", b"C("),  # 48 -> 40
    ]
    for raw in cases:
        path.write_bytes(raw)
        with pytest.raises(ValueError, match="odd.pkl is no pickle of arrays"):
            fid_stats.read(path)
    path.write_bytes(pickle.dumps([1, 2]))
    with pytest.raises(ValueError, match="no statistics 'fid'; there are list"):
        fid_stats.read(path)


LOPSIDED, ABSENT = SIGMA.copy(), MU.copy()
LOPSIDED[0, 1] += 1
ABSENT[3] = np.nan


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"mu": MU}, "no sigma or ref_sigma; it has mu"),
        (
            {"arr_0": np.zeros((2, 4, 4, 3))},
            "no mu or ref_mu; it has arr_0; arr_0 alone are images",
        ),
        ({"mu": MU, "sigma": SIGMA[:4]}, r"got \[6\] and \[4, 6\] \(it has mu, sigma\)"),
        ({"mu": MU[None], "sigma": SIGMA}, r"got \[1, 6\] and \[6, 6\]"),
        ({"mu": MU, "sigma": LOPSIDED}, "differs from its transpose by up to 1, "),
        ({"mu": MU, "sigma": -SIGMA}, "smallest variance is -"),
        ({"mu": ABSENT, "sigma": SIGMA}, r"mu float64\[6\] is not all finite"),
        ({"mu": MU.astype(str), "sigma": SIGMA}, r"mu <U\d+\[6\] is not all finite"),
        ({"mu": MU, "sigma": SIGMA, "n": 1}, "n is a number of images, at least 2"),
        ({"mu": MU, "sigma": SIGMA, "mu_s": MU_S}, "no sigma_s; it has mu, sigma, mu_s"),
        ({"mu": np.array([None] * 6), "sigma": SIGMA}, "cannot be read as npz"),
    ],
)
def test_what_is_no_gaussian_is_refused_with_file_and_keys(arrays, words, tmp_path):
    with pytest.raises(ValueError, match=r"bad\.npz.*" + words):
        fid_stats.read(npz(tmp_path / "bad.npz", **arrays))


def test_damaged_and_foreign_files_are_refused(tmp_path):
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(ValueError, match="a.npz cannot be read as npz"):
        fid_stats.read(tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"from \.npz or \.pkl; got .*a\.pt"):
        fid_stats.read(tmp_path / "a.pt")
    with pytest.raises(FileNotFoundError):
        fid_stats.read(tmp_path / "b.npz")
    with pytest.raises(ValueError, match=r"written to \.npz"):
        fid_stats.write(tmp_path / "a.pkl", stats())


@pytest.mark.parametrize("what", SAYS)
def test_different_pipelines_are_not_comparable_and_both_are_named(what):
    other = stats(source="theirs", **{what: "another"})
    want = f"different {what}: ours has {SAYS[what]}, theirs has another"
    with pytest.raises(ValueError, match=want):
        fid_stats.comparable(stats(), other)


def test_one_silent_key_warns_and_does_not_hide_a_mismatch():
    silent = stats(source="theirs", resize=None)
    assert fid_stats.comparable(stats(), silent).startswith("theirs does not say its resize:")
    silent.features = "other@99"
    with pytest.raises(ValueError, match="different features"):
        fid_stats.comparable(stats(), silent)
    wide = fid_stats.of(fid.Moments.of(Y))
    with pytest.raises(ValueError, match="ours has 6 features, samples has 9"):
        fid_stats.comparable(stats(), wide)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    fid_stats.write(path, stats())
    before = path.read_bytes()

    def broken(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(OSError, match="disk full"):
        fid_stats.write(path, stats(features="other"))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


def test_who_reads_meanwhile_sees_the_old_file_whole(tmp_path):
    path = tmp_path / "a.npz"
    fid_stats.write(path, stats())
    before = path.read_bytes()
    with path.open("rb") as old:
        fid_stats.write(path, stats(features="other"))
        assert old.read() == before
    assert fid_stats.read(path).features == "other"


def test_reading_leaves_images_where_they_are(tmp_path, monkeypatch):
    path = npz(tmp_path / "adm.npz", **FOREIGN["adm"])
    read = np.lib.npyio.NpzFile.__getitem__
    keys = []
    monkeypatch.setattr(
        np.lib.npyio.NpzFile, "__getitem__", lambda self, key: keys.append(key) or read(self, key)
    )
    fid_stats.read(path)
    assert sorted(keys) == ["mu", "mu_s", "sigma", "sigma_s"]


def test_reading_statistics_imports_no_network():
    code = "import sys, utils.fid_stats; print([m for m in ('jax', 'torch') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"
