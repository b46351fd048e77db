"""Ids: sortable, one of a kind, also across threads."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from wharfd.ids import new_id, new_trace_id


def test_ids_sort_by_their_time():
    made = [new_id("evt", at_ms=at) for at in (0, 1, 31, 32, 10**6, 1_800_000_000_000, 2**48 - 1)]
    assert made == sorted(made)
    assert all(re.fullmatch(r"evt_[0-9a-hjkmnp-tv-z]{26}", one) for one in made)


def test_no_two_are_alike_whoever_makes_them():
    with ThreadPoolExecutor(8) as threads:
        parts = list(threads.map(lambda _: [new_id("x", at_ms=1) for _ in range(5000)], range(8)))
    ids = [one for part in parts for one in part]
    assert len(set(ids)) == len(ids)


def test_a_trace_id_is_of_the_standard_form():
    made = {new_trace_id() for _ in range(2000)}
    assert len(made) == 2000
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in made)
