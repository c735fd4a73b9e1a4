"""The cache that is bounded by bytes."""

from concurrent.futures import ThreadPoolExecutor

from outlast.weighed_cache import WeighedCache


def test_a_cache_is_bounded_by_bytes_and_by_entries() -> None:
    cache: WeighedCache[int, str] = WeighedCache(max_bytes=100, max_entries=4)
    for number in range(10):
        assert cache.get_or_make(number, lambda: ("value", 10)) == "value"
    assert len(cache) == 4
    cache.put(10, "large", 90)
    assert len(cache) == 2
    cache.put(11, "too large", 1_000)
    assert len(cache) == 0


def test_the_least_recently_used_value_is_dropped_first() -> None:
    cache: WeighedCache[str, int] = WeighedCache(max_bytes=20)
    cache.put("a", 1, 10)
    cache.put("b", 2, 10)
    assert cache.get("a") == 1
    cache.put("c", 3, 10)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)


def test_a_value_that_is_put_again_counts_once() -> None:
    cache: WeighedCache[str, int] = WeighedCache(max_bytes=20)
    for value in range(10):
        cache.put("a", value, 15)
    assert cache.get("a") == 9


def test_threads_may_share_a_cache() -> None:
    cache: WeighedCache[int, int] = WeighedCache(max_bytes=50, max_entries=5)

    def use(worker: int) -> None:
        for number in range(2_000):
            key = (worker * 7 + number) % 20
            assert cache.get_or_make(key, lambda key=key: (key, 10)) == key  # type: ignore[misc]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(use, range(8)))
    assert len(cache) == 5
