"""What Polars reads of the record store's columns as they lie, and of an export as Parquet, beside
what the product itself says.

    columns.py STORE EXPORT QUERY

STORE is the folder of the store, EXPORT a file of `isango logs export --format parquet`, QUERY one of
`isango logs query --json`: all records. Prints what was compared, and fails where two differ.
"""

import json
import sys
import uuid
from pathlib import Path

import polars as pl

store, export, query = map(Path, sys.argv[1:])
said = [json.loads(line) for line in query.read_text().splitlines()]


def total(part, *names):
    """The sum of a member of all records; absent ones are 0."""
    return sum((record.get(part) or {}).get(name) or 0 for record in said for name in names)


INPUT = ("input", "cache_read", "cache_write", "cache_write_1h")
expected = {
    "records": len(said),
    "ids": sorted(record["id"] for record in said),
    "cost": total("cost", "nanousd"),
    "time": total("timing", "total_us"),
    "response bytes": total("response", "bytes"),
    "streams": sum(bool(record.get("stream")) for record in said),
    "models": sorted(record.get("model") or "" for record in said),
    "cases": sorted(str(record.get("metadata", {}).get("case", "")) for record in said),
    "first": min(record["created_at"] for record in said),
}
known = set(expected["ids"])
assert expected["records"] > 0 and expected["cost"] > 0, expected

for name, files in {"columns": store / "columns" / "*.parquet", "export": export}.items():
    frame = pl.read_parquet(files)
    # What was deleted is in no answer, and leaves the columns within the hour.
    there = [str(uuid.UUID(bytes=one)) in known for one in frame["id"]]
    frame = frame.filter(pl.Series(there))
    found = {
        "records": frame.height,
        "ids": sorted(str(uuid.UUID(bytes=one)) for one in frame["id"]),
        "cost": frame["cost_nanousd"].sum(),
        "time": frame["total_us"].sum(),
        "response bytes": frame["response_bytes"].sum(),
        "streams": frame["stream"].sum(),
        "models": sorted(frame["model"].fill_null("")),
        "cases": sorted(frame["metadata.case"].fill_null("")),
        "first": frame["created_at"].min().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
    for what, value in expected.items():
        assert found[what] == value, f"{name}: {what} is {found[what]}, not {value}"
    # A filter that only touches one column, pushed down into the file.
    lazy = pl.scan_parquet(files).filter(pl.col("status") == 200).select("id").collect()
    found = sum(str(uuid.UUID(bytes=one)) in known for one in lazy["id"])
    count = sum(record.get("status") == 200 for record in said)
    assert found == count, f"{name}: status 200"
    print(f"{name}: {frame.height} records, {frame.width} columns, as the product says")
