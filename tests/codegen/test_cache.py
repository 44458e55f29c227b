"""The build cache: what is put in is found, and what is damaged, foreign or too much is not."""

import multiprocessing
import os
import stat

import pytest

from tcomp.codegen.cache import BuildCache, hash_parts
from tcomp.ir.errors import ToolchainError

KEY = hash_parts("key")


@pytest.fixture
def cache(tmp_path):
    return BuildCache(tmp_path / "cache")


def put(cache, key=KEY, data=b"content"):
    with cache.workspace() as folder:
        built = folder / "built"
        built.write_bytes(data)
        return cache.add(key, ".o", built)


def test_what_is_added_is_found(cache):
    path = put(cache)
    assert cache.find(KEY, ".o") == path
    assert path.read_bytes() == b"content"
    assert cache.find(KEY, ".so") is None
    assert cache.find(hash_parts("other"), ".o") is None


def test_a_cache_that_does_not_exist_yet_holds_nothing(cache):
    assert cache.find(KEY, ".o") is None
    assert not cache.directory.exists()


def test_the_folder_is_private_and_holds_no_leftovers(cache):
    put(cache)
    assert stat.S_IMODE(cache.directory.stat().st_mode) == 0o700
    assert [entry.name for entry in cache.directory.iterdir()] == [KEY[:2]]


def test_leftovers_go_when_building_fails(cache):
    with pytest.raises(KeyError), cache.workspace() as folder:
        (folder / "half").write_bytes(b"written")
        raise KeyError
    assert list(cache.directory.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"conten", b"Content", b"content and more"])
def test_a_damaged_entry_is_not_found_and_can_be_built_again(cache, damage):
    put(cache).write_bytes(damage)
    assert cache.find(KEY, ".o") is None
    assert put(cache) == cache.find(KEY, ".o")


def test_a_folder_that_others_can_write_is_refused(cache):
    cache.directory.mkdir(mode=0o700)
    cache.directory.chmod(0o777)
    with pytest.raises(ToolchainError, match="other users can write") as caught:
        put(cache)
    assert "TCOMP_CACHE_DIR" in caught.value.help


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ToolchainError, match="cannot be used") as caught:
        put(BuildCache(tmp_path / "file" / "cache"))
    assert "cache=False" in caught.value.help


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ToolchainError, match="cannot be used"):
        put(BuildCache(tmp_path))


def test_the_entries_unused_for_longest_are_evicted(tmp_path):
    cache = BuildCache(tmp_path / "cache", limit=250)
    paths = [put(cache, hash_parts(str(number)), bytes([number]) * 100) for number in range(4)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (10**9 - age, 10**9 - age))
    assert cache.find(hash_parts("0"), ".o") == paths[0], "being found makes an entry young again"
    cache.evict()
    assert [path.exists() for path in paths] == [True, False, False, True]


def add_often(directory):
    cache = BuildCache(directory)
    for number in range(40):
        key = hash_parts(str(number % 8))
        found = cache.find(key, ".o")
        assert (found or put(cache, key, str(number % 8).encode() * 1000)).read_bytes() == str(number % 8).encode() * 1000


def test_several_processes_share_a_cache(tmp_path):
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(add_often, [tmp_path / "cache"] * 3)
    assert len(list((tmp_path / "cache").glob("??/*"))) == 8


def test_the_borders_between_hashed_parts_matter():
    assert hash_parts("ab", "c") != hash_parts("a", "bc")
