"""Comparing two output folders as they stand."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from crowdselect_core.errors import ConfigError, StorageError
from crowdselect_core.experiment.outputs import DIFFERENCES, compare_outputs


def output(folder: Path, chosen: str, rows: str = "abcdef", **config: Any) -> str:
    """Write an output that chose some of six rows."""
    folder.mkdir()
    ranking = pl.DataFrame({"instruction_id": list(rows), "eligible": [r != "f" for r in rows]})
    selection = pl.DataFrame(
        {
            "instruction_id": list(chosen),
            "difficulty": [float(ord(c) - ord("a")) for c in chosen],
            "response_model": ["m1" if c in "ab" else "m2" for c in chosen],
            "response": ["x" * (ord(c) - ord("a") + 1) for c in chosen],
            "messages": [
                [{"role": "user", "content": "four"}, {"role": "assistant", "content": "no"}]
                for _ in chosen
            ],
        }
    )
    ranking.write_parquet(folder / "ranking.parquet")
    selection.write_parquet(folder / "selection.parquet")
    files = {"selection.parquet": {}, "ranking.parquet": {}}
    told = {"files": files, "summary": {}, "artifacts": {}, "config": {"seed": 0, **config}}
    (folder / "manifest.json").write_text(json.dumps(told))
    return str(folder)


def test_two_outputs_by_hand(tmp_path: Path) -> None:
    a = output(tmp_path / "a", "ab", method="crowdselect")
    b = output(tmp_path / "b", "bc", method="random")
    found = compare_outputs(a, b)
    assert found.shared == 1
    assert found.expected == pytest.approx(2 * 2 / 5)  # five eligible rows
    assert found.jaccard == pytest.approx(1 / 3)
    # of 5, P(0, 1, 2 shared) = 3/10, 6/10, 1/10: Jaccard 0, 1/3, 1 give 2/10 + 1/10
    assert found.expected_jaccard == pytest.approx(0.3)
    assert dict(found.table.schema) == dict(DIFFERENCES)
    rows = {r["what"]: (r["a"], r["b"], r["change"]) for r in found.table.to_dicts()}
    assert rows["rows chosen"] == (2, 2, 0)
    assert rows["rows eligible"] == (5, 5, 0)
    assert rows["mean difficulty"] == (0.5, 1.5, 1.0)
    assert rows["mean answer length"] == (1.5, 2.5, 1.0)
    assert rows["mean instruction length"] == (4, 4, 0)
    assert rows["kept m1"] == (1.0, 0.5, -0.5)
    assert rows["kept m2"] == (0.0, 0.5, 0.5)
    assert "mean stability" not in rows
    text = "\n".join(found.lines)
    assert "1 of 2 and 2 chosen rows are the same (0.8 expected by chance)" in text
    assert "method: crowdselect and random" in text
    assert "kept m1 (share of answers): 1 and 0.5 (-0.5)" in text
    assert "data sets differ" not in text


def test_equal_outputs(tmp_path: Path) -> None:
    found = compare_outputs(output(tmp_path / "a", "ab"), output(tmp_path / "b", "ab"))
    assert found.jaccard == 1
    assert "Method, budget and seed are equal." in found.lines


def test_data_sets_that_differ_are_said_to(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a", "ab"), output(tmp_path / "b", "bg", rows="bcdg")
    found = compare_outputs(a, b)
    assert any("6 and 4 rows, 3 in common" in line for line in found.lines)
    # 5 and 4 eligible rows, 3 of both: 5 * 4 / 3 is about 7 rows, 2 * 2 / 7
    assert found.expected == pytest.approx(4 / 7)


def test_no_id_in_common_is_an_error(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a", "ab"), output(tmp_path / "b", "xy", rows="xyz")
    with pytest.raises(ConfigError, match="no instruction id in common"):
        compare_outputs(a, b)


def test_a_folder_that_is_no_output_is_an_error(tmp_path: Path) -> None:
    a = output(tmp_path / "a", "ab")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"empty has no manifest\.json: expected a folder"):
        compare_outputs(a, str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match=r"none has no manifest\.json"):
        compare_outputs(str(tmp_path / "none"), a)


@pytest.mark.parametrize("text", ["{", "[]", '{"files": {}}', "[" * 100_000])
def test_another_manifest_is_an_error(tmp_path: Path, text: str) -> None:
    a = output(tmp_path / "a", "ab")
    b = Path(output(tmp_path / "b", "ab"))
    (b / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match="is no manifest of a selection"):
        compare_outputs(a, str(b))


def test_an_output_of_another_flow_is_an_error(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a", "ab"), Path(output(tmp_path / "b", "ab"))
    told = json.loads((b / "manifest.json").read_text())
    del told["files"]["ranking.parquet"]
    (b / "manifest.json").write_text(json.dumps(told))
    with pytest.raises(ConfigError, match=r"an output without ranking\.parquet"):
        compare_outputs(a, str(b))


def test_a_damaged_or_missing_table_is_an_error(tmp_path: Path) -> None:
    a, b = output(tmp_path / "a", "ab"), Path(output(tmp_path / "b", "ab"))
    (b / "selection.parquet").write_bytes(b"PAR1 is no parquet")
    with pytest.raises(StorageError, match=r"b/selection\.parquet .*run that command again"):
        compare_outputs(a, str(b))
    (b / "selection.parquet").unlink()
    with pytest.raises(StorageError, match=r"selection\.parquet is missing"):
        compare_outputs(a, str(b))
    pl.DataFrame({"id": ["a"]}).write_parquet(b / "selection.parquet")
    with pytest.raises(StorageError, match="no column 'instruction_id'"):
        compare_outputs(a, str(b))


def test_names_from_files_are_made_safe(tmp_path: Path) -> None:
    a = output(tmp_path / "a", "ab", method="\x1b[31m" + "x" * 500)
    b = output(tmp_path / "b", "ab", method="random")
    (line,) = (line for line in compare_outputs(a, b).lines if line.startswith("Different"))
    assert "\x1b" not in line
    assert len(line) < 200
