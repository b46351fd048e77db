"""Blocks of SQL, run as they stand in a real PostgreSQL."""

import re

import pytest

from .reading import PAGES, blocks_of

BLOCKS = [block for page in PAGES for block in blocks_of(page) if block.language == "sql"]
# What a block works on; the core's own tables are there.
GIVEN = {
    "docs/database.md": "CREATE SCHEMA orders; CREATE TABLE orders.drafts (id int, owner text, made_at timestamptz);",
    "docs/work.md": "CREATE SCHEMA shop;",
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_it_runs(block, postgres, database_templates):
    if "CREATE DATABASE" in block.text:
        # Beside those of this cluster, which have the names of the page.
        text = block.text.replace("wharfd", "page_wharfd")
        try:
            for statement in text.split(";"):
                postgres.psql("postgres", statement)
        finally:
            postgres.psql("postgres", "DROP DATABASE IF EXISTS page_wharfd")
            for role in re.findall(r"CREATE ROLE (\w+)", text):
                postgres.psql("postgres", f"DROP ROLE IF EXISTS {role}")
        return
    name = database_templates.clone([])
    try:
        postgres.psql(name, f"{GIVEN[block.page]} {block.text}")
    finally:
        database_templates.drop(name)
