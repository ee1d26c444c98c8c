"""Tables of embeddings: geometry, files of three kinds, and what is refused."""

import numpy as np
import pytest

from data import embeddings
from data.embeddings import prepared, random_table, read

WORDS = [None, " The", "the", "cat", "unheard"]
GLOVE = "the 1 0 0\ncat 0 2 0.5\n. . . 9 9 9\ndog 0 0 -3\n"


@pytest.fixture
def glove(tmp_path):
    path = tmp_path / "glove.txt"
    path.write_text(GLOVE)
    return path


def norms(table):
    return np.linalg.norm(table, axis=-1)


def test_few_rows_are_orthogonal():
    table = random_table(20, 32, seed=1)
    assert table.dtype == np.float32
    np.testing.assert_allclose(table @ table.T, np.eye(20), atol=1e-6)


def test_many_rows_have_unit_length_and_fill_all_directions():
    table = random_table(500, 16, seed=1)
    assert table.shape == (500, 16) and table.dtype == np.float32
    np.testing.assert_allclose(norms(table), 1.0, atol=1e-6)
    np.testing.assert_allclose(table.T @ table / 500, np.eye(16) / 16, atol=0.01)


def test_a_seed_makes_one_table():
    np.testing.assert_array_equal(random_table(9, 4, 3), random_table(9, 4, 3))
    assert np.abs(random_table(9, 4, 3) - random_table(9, 4, 4)).max() > 0.1
    with pytest.raises(ValueError, match="got 0 x 4"):
        random_table(0, 4)


def test_words_are_found_as_they_are_or_in_small_letters(glove):
    table, share = read(glove, WORDS)
    assert table.shape == (5, 3) and table.dtype == np.float32 and share == 3 / 5
    np.testing.assert_array_equal(table[2:4], [[1, 0, 0], [0, 2, 0.5]])
    moved = np.linalg.norm(table[1] - table[2])
    assert 0.1 < moved < 0.5  # another spelling: near, and a row of its own
    again, _ = read(glove, WORDS)
    np.testing.assert_array_equal(table, again)


def test_missing_words_are_near_the_mean_and_differ(glove):
    table, _ = read(glove, WORDS)
    found = np.array([[1, 0, 0], [1, 0, 0], [0, 2, 0.5]])
    for row in table[[0, 4]]:
        assert 0.1 < np.linalg.norm(row - found.mean(0)) < 0.5
    ready = prepared(table)
    assert ready[0] @ ready[4] < 0.95


def test_words_with_spaces_and_a_first_line_of_sizes_are_read(glove, tmp_path):
    table, share = read(glove, [". . ."])
    assert share == 1.0 and (table == 9).all()
    vec = tmp_path / "fast.vec"
    vec.write_text("4 3\n" + GLOVE)
    np.testing.assert_array_equal(read(vec, ["dog"])[0], [[0, 0, -3]])


def test_npz_and_safetensors_are_read_by_name_or_by_order(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    vectors = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    np.savez(tmp_path / "named.npz", words=np.array(["a", "b", "c"]), vectors=vectors)
    np.savez(tmp_path / "rows.npz", vectors)
    save_file({"x": vectors, "bias": vectors[0]}, tmp_path / "one.safetensors")
    save_file(
        {"lm_head": vectors + 1, "model.embed_tokens": vectors, "w": vectors[:2]},
        tmp_path / "two.safetensors",
    )
    np.testing.assert_array_equal(read(tmp_path / "named.npz", ["c", "a"])[0], vectors[[2, 0]])
    for name in ("rows.npz", "one.safetensors", "two.safetensors"):
        table, share = read(tmp_path / name, ["a", None, "zzz"])
        np.testing.assert_array_equal(table, vectors)
        assert share == 1.0


def test_half_precision_weights_become_float32(tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    save_file({"embed": np.full((2, 3), 0.5, bfloat16)}, tmp_path / "half.safetensors")
    table, _ = read(tmp_path / "half.safetensors", ["a", "b"])
    assert table.dtype == np.float32 and (table == 0.5).all()


def test_what_cannot_be_read_is_refused_in_one_line(glove, tmp_path):
    save_file = pytest.importorskip("safetensors.numpy").save_file
    a = np.ones((3, 2), np.float32)
    np.savez(tmp_path / "objects.npz", words=np.array(["a", 1], object), vectors=a)
    np.savez(tmp_path / "other.npz", words=np.array(["a"]), rows=a)
    np.savez(tmp_path / "uneven.npz", words=np.array(["a"]), vectors=a)
    np.savez(tmp_path / "short.npz", a)
    np.savez(tmp_path / "cube.npz", a[None])
    save_file({"x": a, "y": a}, tmp_path / "twins.safetensors")
    (tmp_path / "broken.npz").write_text("no zip")
    (tmp_path / "broken.safetensors").write_text("no tensors")
    (tmp_path / "cut.txt").write_text("the 1 2\ncat 1\n")
    (tmp_path / "letters.txt").write_text("a x y\n")
    for name, said in {
        "nothing.txt": "there is no file",
        "table.pkl": "wanted .txt, .vec, .npz, .safetensors",
        "glove.txt": "has none of the 1 words",
        "objects.npz": "has Python objects in it",
        "other.npz": "has arrays words, rows; wanted words and vectors",
        "uneven.npz": "vectors of shape \\(3, 2\\)",
        "short.npz": "holds 3 x 2 numbers; wanted a row for each of 1",
        "cube.npz": "holds 1 x 3 x 2 numbers",
        "broken.npz": "is no npz file",
        "broken.safetensors": "cannot be read as safetensors",
        "cut.txt": "line 2: wanted a word and 2 numbers",
        "letters.txt": "line 1: 'a' has no numbers",
    }.items():
        with pytest.raises(ValueError, match=said) as error:
            read(tmp_path / name, ["a"])
        assert "\n" not in str(error.value)
    with pytest.raises(ValueError, match="2 matrices of 3 rows, 0 of them named embed"):
        read(tmp_path / "twins.safetensors", ["a", "b", "c"])


def test_prepared_rows_are_centred_in_direction_and_of_unit_length():
    table = np.random.default_rng(0).normal(size=(50, 8)) + 10.0
    ready = prepared(table)
    assert ready.dtype == np.float32 and ready.shape == (50, 8)
    np.testing.assert_allclose(norms(ready), 1.0, atol=1e-6)
    away = table - table.mean(0)
    np.testing.assert_allclose(ready, away / norms(away)[:, None], atol=1e-6)


def test_the_first_axes_are_those_that_vary_most():
    rng = np.random.default_rng(0)
    scales = np.array([0.01, 5.0, 0.02, 3.0])
    table = rng.normal(size=(200, 4)) * scales + 7.0
    away = (table - table.mean(0))[:, [1, 3]]
    ready = prepared(table, dim=2)
    assert ready.shape == (200, 2)
    want = away / norms(away)[:, None]
    np.testing.assert_allclose(ready @ ready.T, want @ want.T, atol=0.1)  # up to a rotation
    np.testing.assert_array_equal(prepared(table, dim=2), ready)
    full = prepared(table, dim=4)
    np.testing.assert_allclose(full @ full.T, prepared(table) @ prepared(table).T, atol=1e-5)


def test_tables_without_meaning_are_refused():
    good = np.random.default_rng(0).normal(size=(6, 3))
    with pytest.raises(ValueError, match="all 6 rows are equal"):
        prepared(np.ones((6, 3)) * 0.1)
    with pytest.raises(ValueError, match="1 rows are not finite, the first is row 2"):
        prepared(np.where(np.arange(6)[:, None] == 2, np.nan, good))
    with pytest.raises(ValueError, match="1 rows equal the mean of all, the first is row 0"):
        prepared(np.concatenate([np.zeros((1, 3)), good, -good]))
    with pytest.raises(ValueError, match=r"dim 4 is not in 1\.\.3"):
        prepared(good, dim=4)
    with pytest.raises(ValueError, match=r"got shape \(3,\)"):
        prepared(good[0])


def test_an_import_of_embeddings_brings_no_jax():
    assert not {"jax", "safetensors"} & set(vars(embeddings))
