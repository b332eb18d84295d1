"""Every study's row function on its smallest case, and the table that keeps the rows."""

from argparse import Namespace

import pytest

from benchmarks import ambient, certificates, codes, constructions, speed
from benchmarks.tables import Study


def options(tmp_path, **changes):
    return Namespace(**{"out": tmp_path, "fresh": False, "only": None, "quick": True, **changes})


def test_a_study_keeps_its_rows_and_does_not_repeat_them(tmp_path):
    calls = []

    def compute():
        calls.append(1)
        return {"value": 2}

    for _ in range(2):
        study = Study("tiny", ("case",), options(tmp_path))
        study.run({"case": "a"}, compute)
    assert len(calls) == 1 and study.column("value") == [2.0]
    assert "| a | 2 |" in study.markdown().read_text()


def test_ambient_dimension_adds_no_coefficients():
    rows = [ambient.evaluate("circle", d, 1e-1, 0, charts=4, degree=6) for d in (2, 5, 40)]
    assert len({row["coefficients"] for row in rows}) == 1
    assert [row["projected"] for row in rows] == [False, False, True]
    assert all(float(row["sup"]) <= 1e-1 for row in rows)
    assert rows[0]["nonzero"] < rows[2]["nonzero"]


def test_slopes_of_a_line():
    rows = [{"D": str(d), "y": str(3 * d)} for d in (10, 100, 1000)]
    slope, residual, last = ambient.slopes(rows, "y")
    assert slope == pytest.approx(3) and residual == pytest.approx(0, abs=1e-12) and last == pytest.approx(1)


def test_compact_is_smaller_than_paper_at_equal_error(tmp_path):
    study = Study("constructions", ("case", "epsilon", "construction", "code"), options(tmp_path))
    constructions.run_case(study, "circle exp_sin", 1e-1, ("integer",), 0)
    assert [row["construction"] for row in study.rows] == ["paper", "compact"]
    paper, compact = study.rows
    assert float(compact["sup"]) <= float(paper["sup"]) <= 1e-1
    assert 5 * int(compact["parameters"]) < int(paper["parameters"])
    assert len(constructions.ratios(study.rows)) == 3
    assert constructions.plot(study.rows).axes


def test_a_certificate_is_proved_and_verified(tmp_path):
    row = certificates.prove("circle", "exp_sin", 1e-1, "rigorous", tmp_path, 0)
    assert float(row["measured"]) <= float(row["proved"]) <= 1e-1 and float(row["ratio"]) >= 1.0
    assert certificates.verify("circle", "exp_sin", 1e-1, "rigorous", tmp_path)["verified"]
    assert ("klein_bottle", "sin_product", 1e-4, "measured") in certificates.cases(False)


def test_a_refused_network_is_a_row():
    row = constructions.evaluate("circle exp_sin", 0, charts=4, degree=2, epsilon=1e-9)
    assert row["seconds"] == "EpsilonNotReached" and row["parameters"] == "" and float(row["sup"]) > 1e-9


@pytest.mark.parametrize("dtype", codes.DTYPES)
def test_the_exact_code_is_exact_and_nothing_leaks(dtype):
    rows = {kind: codes.evaluate(dtype, kind, 16, 0, heads=5, states=2) for kind in codes.KINDS}
    assert all(float(row["leak"]) == 0.0 for row in rows.values())
    exact = float(rows["integer, C = 2^k"]["largest"])
    assert exact <= (1e-14 if dtype == "float64" else 4e-6)
    assert exact < float(rows["trigonometric"]["largest"])


def test_speed_is_a_ratio_of_medians():
    calls = []
    medians = speed.interleaved(lambda: calls.append(1), lambda: calls.append(2), 3)
    assert calls == [1, 2] * 4 and min(medians) >= 0
    row = speed.build("compact, sphere", heads=800)
    assert int(row["heads"]) > 400 and float(row["ratio"]) > 0 and row["points_per_second"] == ""
    net = speed.circle(charts=4, degree=3)
    assert float(speed.row(net, "forward", 10, 2.0, 0.5)["ratio"]) == 4.0
