"""The prompt cache on disk."""

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from dpseg.prompts.cache import (
    CACHE_VARIABLE,
    CacheKey,
    PromptCache,
    PromptCacheWarning,
    default_folder,
    hash_arrays,
    hash_text,
)

KEY = CacheKey("encoder", hash_text("cat"), "a photo of a {}.")
ARRAYS = {"class_wise": np.arange(6, dtype=np.float32).reshape(2, 3)}


def test_what_is_stored_is_loaded_by_another_process(tmp_path):
    PromptCache(tmp_path).store(KEY, ARRAYS)
    loaded = PromptCache(tmp_path).load(KEY)
    np.testing.assert_array_equal(loaded["class_wise"], ARRAYS["class_wise"])


def test_the_file_is_safetensors_and_records_its_key(tmp_path):
    cache = PromptCache(tmp_path)
    cache.store(KEY, {"a": ARRAYS["class_wise"].T})
    np.testing.assert_array_equal(load_file(cache.path_of(KEY))["a"], ARRAYS["class_wise"].T)
    assert b'"encoder_key":"encoder"' in cache.path_of(KEY).read_bytes()


def test_a_user_without_a_home_works_without_a_folder(monkeypatch):
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    cache = PromptCache()
    assert cache.folder is None
    assert cache.load(KEY) is None
    cache.store(KEY, ARRAYS)
    np.testing.assert_array_equal(cache.load(KEY)["class_wise"], ARRAYS["class_wise"])


@pytest.mark.parametrize(
    "other",
    [
        CacheKey("encoder2", KEY.content, KEY.template),
        CacheKey("encoder", hash_text("dog"), KEY.template),
        CacheKey("encoder", KEY.content, "{}"),
    ],
)
def test_every_part_of_the_key_counts(tmp_path, other):
    cache = PromptCache(tmp_path)
    cache.store(KEY, ARRAYS)
    assert PromptCache(tmp_path).load(other) is None


def test_an_entry_of_another_encoder_is_refused(tmp_path):
    cache = PromptCache(tmp_path)
    stale = CacheKey("old encoder", KEY.content, KEY.template)
    cache.store(stale, ARRAYS)
    target = cache.path_of(KEY)
    target.parent.mkdir(parents=True)
    cache.path_of(stale).rename(target)
    with pytest.warns(PromptCacheWarning, match="refused: it records .*old encoder"):
        assert PromptCache(tmp_path).load(KEY) is None


@pytest.mark.parametrize("damage", [b"", b"\x00" * 7, b"\xff" * 300])
def test_a_damaged_file_is_reported_and_replaced(tmp_path, damage):
    cache = PromptCache(tmp_path)
    cache.store(KEY, ARRAYS)
    cache.path_of(KEY).write_bytes(damage)
    fresh = PromptCache(tmp_path)
    with pytest.warns(PromptCacheWarning, match="damaged"):
        assert fresh.load(KEY) is None
    fresh.store(KEY, ARRAYS)
    assert PromptCache(tmp_path).load(KEY) is not None


def test_a_truncated_file_is_reported(tmp_path):
    cache = PromptCache(tmp_path)
    cache.store(KEY, ARRAYS)
    path = cache.path_of(KEY)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.warns(PromptCacheWarning, match="damaged"):
        assert PromptCache(tmp_path).load(KEY) is None


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    cache = PromptCache(tmp_path)
    cache.path_of(KEY).parent.mkdir(parents=True)
    save_file(dict(ARRAYS), cache.path_of(KEY))
    with pytest.warns(PromptCacheWarning, match="refused"):
        assert cache.load(KEY) is None


def test_a_folder_that_cannot_be_written_to_is_no_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    cache = PromptCache(tmp_path / "file")
    with pytest.warns(PromptCacheWarning, match="cannot write"):
        cache.store(KEY, ARRAYS)
    assert cache.load(KEY) is not None  # still in memory


def test_no_temporary_files_stay(tmp_path):
    PromptCache(tmp_path).store(KEY, ARRAYS)
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".safetensors"]


def test_memory_is_bounded(tmp_path):
    cache = PromptCache(tmp_path, in_memory=2)
    for word in "abc":
        cache.store(CacheKey("e", hash_text(word), "{}"), ARRAYS)
    assert len(cache._entries) == 2


def test_writers_at_the_same_time_leave_a_whole_entry(tmp_path):
    big = {"a": np.ones((200, 200), np.float32)}
    threads = [
        threading.Thread(target=PromptCache(tmp_path).store, args=(KEY, big)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert PromptCache(tmp_path).load(KEY)["a"].sum() == 40_000


def test_names_of_any_kind_make_safe_file_names(tmp_path):
    key = CacheKey("../../x", hash_text("../etc/passwd"), "{}/\0" * 100)
    path = PromptCache(tmp_path).path_of(key)
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert len(path.name) < 100


def test_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    assert default_folder() == tmp_path / "prompts"
    monkeypatch.delenv(CACHE_VARIABLE)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder() == Path.home() / ".cache" / "dpseg" / "prompts"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_folder().parts[-4:] == ("Library", "Caches", "dpseg", "prompts")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert default_folder() == tmp_path / "dpseg" / "Cache" / "prompts"


def test_hashes_tell_shape_dtype_and_mask_apart():
    picture = np.zeros((4, 6, 3), np.uint8)
    hashes = {
        hash_arrays(picture),
        hash_arrays(picture.reshape(6, 4, 3)),
        hash_arrays(picture.astype(np.int8)),
        hash_arrays(picture, None),
        hash_arrays(picture, np.zeros((4, 6))),
    }
    assert len(hashes) == 5
