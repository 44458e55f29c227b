"""The build cache: what is put in is found, and what is damaged, foreign or too much is not."""

import multiprocessing
import os
import resource
import stat
from pathlib import Path

import pytest

from tcomp.codegen.cache import BuildCache, hash_parts
from tcomp.ir.errors import CacheError

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


def refuse(cache):
    """Put something into a cache that cannot be used: it is found in this process, and nowhere in the cache's folder."""
    with pytest.warns(UserWarning, match="works without its cache") as warned:
        path = put(cache)
    assert not path.is_relative_to(cache.directory)
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o700
    assert cache.find(KEY, ".o") == path
    assert put(cache) == path
    assert len(warned) == 1, "once for each folder"
    assert "TCOMP_CACHE_DIR" in str(warned[0].message)
    with pytest.raises(CacheError):
        cache.check()


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o1777])
def test_a_folder_that_others_can_write_is_not_used(cache, mode):
    cache.directory.mkdir(mode=0o700)
    cache.directory.chmod(mode)
    refuse(cache)


def test_a_folder_above_that_others_can_write_is_not_used_unless_sticky(tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    assert put(BuildCache(shared / "sticky")).is_relative_to(shared)
    shared.chmod(0o777)
    refuse(BuildCache(shared / "other" / "cache"))


@pytest.mark.parametrize("loosen", [lambda path: path.parent, lambda path: path])
def test_what_others_could_write_is_not_found(cache, loosen):
    path = put(cache)
    loosen(path).chmod(0o777)
    assert cache.find(KEY, ".o") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("part", [lambda path: path, lambda path: path.parent])
def test_what_another_user_owns_is_not_found(cache, part):
    path = put(cache)
    os.chown(part(path), 65534, 65534)
    assert cache.find(KEY, ".o") is None


def test_a_link_is_no_entry_and_a_linked_folder_is_checked_where_it_is(tmp_path):
    real = tmp_path / "real"
    (tmp_path / "link").symlink_to(real)
    cache = BuildCache(tmp_path / "link")
    path = put(cache)
    assert path.is_relative_to(real)
    moved = path.rename(tmp_path / "moved")
    path.symlink_to(moved)
    assert cache.find(KEY, ".o") is None
    real.chmod(0o777)
    refuse(BuildCache(tmp_path / "link"))


def test_a_folder_that_cannot_be_made_is_not_used(tmp_path):
    (tmp_path / "file").write_text("in the way")
    refuse(BuildCache(tmp_path / "file"))
    refuse(BuildCache(tmp_path / "file" / "cache"))


def test_a_home_that_cannot_be_found_is_not_used():
    refuse(BuildCache(Path("~nobody-of-that-name/cache")))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_not_used(tmp_path):
    tmp_path.chmod(0o500)
    refuse(BuildCache(tmp_path))


def test_a_full_folder_is_not_used(cache):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    put(cache)
    assert not cache.is_full()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.warns(UserWarning, match="File too large"):
            assert not put(cache, hash_parts("more")).is_relative_to(cache.directory)
        assert cache.find(KEY, ".o").is_relative_to(cache.directory), "what is there is still found"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


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
