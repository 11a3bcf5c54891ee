"""Reading safetensors: equal to the library's own reader, lazy, and exact about what is wrong with a file."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from harness.errors import ModelError
from harness.tensor_file import INDEX_NAME, open_tensors


def write_raw(path: Path, header: Mapping[str, Any], *, data: bytes = b"") -> Path:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


@pytest.fixture
def matrix() -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_whole_tensors_and_slices_are_those_that_were_saved(
    tmp_path: Path, matrix: np.ndarray[Any, np.dtype[np.float32]], dtype: str
) -> None:
    saved = matrix.astype(dtype)
    save_file({"a": saved[:2].copy(), "w": saved, "v": saved[0].copy()}, tmp_path / "x.safetensors", {"who": "me"})
    tensors = open_tensors(tmp_path / "x.safetensors")
    assert sorted(tensors.names) == ["a", "v", "w"]
    assert tensors.metadata == {"who": "me"}
    assert tensors.shape("w") == (6, 4)
    for found, expected in [
        (tensors.read("w"), saved),
        (tensors.read("w", rows=slice(1, 3)), saved[1:3]),
        (tensors.read("w", rows=slice(2, 5), columns=slice(1, 3)), saved[2:5, 1:3]),
        (tensors.read("v"), saved[0]),
    ]:
        assert type(found) is np.ndarray
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, expected)


def test_bfloat16_is_read_as_torch_reads_it(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file as save_torch

    saved = torch.randn(5, 6, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    saved[0, :3] = torch.tensor([0.0, -1.5, 2.0**-130])  # zero, a negative and a subnormal
    save_torch({"w": saved}, tmp_path / "x.safetensors")
    found = open_tensors(tmp_path / "x.safetensors").read("w", rows=slice(0, 4), columns=slice(0, 5))
    np.testing.assert_array_equal(found, saved[:4, :5].double().numpy())


def test_a_slice_of_a_large_tensor_costs_the_memory_of_the_slice(tmp_path: Path) -> None:
    # Sparse on disk: 256 MiB that nobody wrote.
    shape, size = [1 << 16, 1024], 1 << 28
    path = write_raw(tmp_path / "x.safetensors", {"w": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}})
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + size)
    tensors = open_tensors(path)
    tracemalloc.start()
    try:
        assert not tensors.read("w", rows=slice(60_000, 60_016)).any()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20  # 16 rows in float64 are 128 KiB


def test_tensors_of_foreign_types_may_stand_beside_those_that_are_read(tmp_path: Path) -> None:
    header = {
        "w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "q": {"dtype": "F4_PACKED", "shape": [5], "data_offsets": [4, 7]},
    }
    tensors = open_tensors(write_raw(tmp_path / "x.safetensors", header, data=struct.pack("<f", 2.5) + b"abc"))
    assert tensors.read("w") == 2.5
    with pytest.raises(ModelError, match=r"'q' in .* stored as F4_PACKED; only F64, F32, F16, BF16"):
        tensors.read("q")


def test_a_misspelt_tensor_is_answered_with_the_nearest(tmp_path: Path) -> None:
    save_file({"h.0.ln_1.weight": np.ones(3)}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"no tensor 'h\.0\.ln1\.weight'\. Did you mean 'h\.0\.ln_1\.weight'\?"):
        open_tensors(tmp_path / "x.safetensors").read("h.0.ln1.weight")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_where_they_are_read(tmp_path: Path, value: float) -> None:
    saved = np.ones((3, 3))
    saved[2, 2] = value
    save_file({"w": saved}, tmp_path / "x.safetensors")
    tensors = open_tensors(tmp_path / "x.safetensors")
    assert tensors.read("w", rows=slice(0, 2)).sum() == 6
    with pytest.raises(ModelError, match=r"'w' in .* holds NaN or infinity"):
        tensors.read("w")


def test_an_empty_tensor_is_refused(tmp_path: Path) -> None:
    save_file({"w": np.ones((0, 3))}, tmp_path / "x.safetensors")
    with pytest.raises(ModelError, match=r"'w' in .* is empty: its shape is \(0, 3\)"):
        open_tensors(tmp_path / "x.safetensors").read("w")


def test_a_truncated_file_is_refused_when_it_is_opened(
    tmp_path: Path, matrix: np.ndarray[Any, np.dtype[np.float32]]
) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"w": matrix}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    with pytest.raises(
        ModelError, match=rf"truncated: its tensors end at byte {len(whole)}, the file at {len(whole) - 1}"
    ):
        open_tensors(path)
    for length in (0, 5, 8, 20):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match="no safetensors file"):
            open_tensors(path)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"w": 3},
        {"w": {"dtype": "F32", "shape": [2]}},
        {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [-2, -1], "data_offsets": [0, 8]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [-8, 0]}},
        {"w": {"dtype": "F32", "shape": [2], "data_offsets": [8, 0]}},
        {"__metadata__": 3, "w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}},
    ],
)
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, header: Any) -> None:
    with pytest.raises(ModelError, match=r"x\.safetensors is no safetensors file, or is damaged"):
        open_tensors(write_raw(tmp_path / "x.safetensors", header, data=bytes(8)))


def test_a_pickle_is_no_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    with pytest.raises(ModelError, match="no safetensors file"):
        open_tensors(tmp_path / "pytorch_model.bin")


def test_a_file_or_folder_without_weights_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no file .*gone\.safetensors"):
        open_tensors(tmp_path / "gone.safetensors")
    with pytest.raises(ModelError, match=r"holds neither model\.safetensors nor model\.safetensors\.index\.json"):
        open_tensors(tmp_path)


def write_shards(folder: Path, matrix: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    save_file({"a": matrix}, folder / "model-1.safetensors")
    save_file({"b": 2 * matrix}, folder / "model-2.safetensors")
    index = {"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}
    (folder / INDEX_NAME).write_text(json.dumps(index))


def test_shards_read_as_one_and_only_those_that_are_needed(
    tmp_path: Path, matrix: np.ndarray[Any, np.dtype[np.float32]]
) -> None:
    write_shards(tmp_path, matrix)
    for path in (tmp_path, tmp_path / INDEX_NAME):
        np.testing.assert_array_equal(open_tensors(path).read("b"), 2 * matrix)
    (tmp_path / "model-2.safetensors").unlink()
    tensors = open_tensors(tmp_path)
    np.testing.assert_array_equal(tensors.read("a"), matrix)
    with pytest.raises(ModelError, match=r"there is no file .*model-2\.safetensors"):
        tensors.read("b")


@pytest.mark.parametrize("shard", ["../secret", "/etc/passwd", "sub/model-1.safetensors", "", ".."])
def test_an_index_may_not_point_outside_its_folder(tmp_path: Path, shard: str) -> None:
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(ModelError, match="a shard is a file beside its index"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"weight_map": 3}', "not json"])
def test_an_index_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX_NAME).write_text(text)
    with pytest.raises(ModelError, match="is not the index of a sharded checkpoint"):
        open_tensors(tmp_path)


def test_an_index_that_names_the_wrong_shard_is_refused(
    tmp_path: Path, matrix: np.ndarray[Any, np.dtype[np.float32]]
) -> None:
    write_shards(tmp_path, matrix)
    (tmp_path / INDEX_NAME).write_text(json.dumps({"weight_map": {"c": "model-1.safetensors"}}))
    with pytest.raises(ModelError, match=r"says that .*model-1\.safetensors holds tensor 'c', but it does not"):
        open_tensors(tmp_path).read("c")


def test_the_hash_tells_values_types_shapes_and_names_apart(tmp_path: Path) -> None:
    def sha(name: str, saved: Any) -> str:
        save_file({name: saved, "other": np.zeros(1)}, tmp_path / "x.safetensors")
        return open_tensors(tmp_path / "x.safetensors").sha256([name])

    ones = np.ones((2, 3), dtype=np.float32)
    variants = [sha("w", ones), sha("u", ones), sha("w", 2 * ones), sha("w", ones.reshape(3, 2)), sha("w", np.ones(3))]
    assert len(set(variants)) == len(variants)
    assert sha("w", ones.copy()) == variants[0]
