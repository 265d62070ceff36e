"""What evaluations say beside their figures, as tables of text: baselines, mixed galleries, thresholds, groups."""

from typing import Any

from bitface.report.tables import percent

Table = dict[str, Any]


def tables(evaluation: dict[str, Any]) -> list[Table]:
    """The tables of one evaluation; what it doesn't hold has none."""
    found = [_thresholds(evaluation)]
    if baseline := evaluation.get("baseline"):
        found += [_beside(baseline), _mixed(baseline["mixed"])]
    if groups := evaluation.get("groups"):
        found.append(_groups(groups))
    return [table for table in found if table["rows"]]


def _thresholds(evaluation: dict[str, Any]) -> Table:
    """Where the model decides: thresholds found here, and what those stored in the artifact do here."""
    rows = []
    for point in evaluation["tar"]:
        if point["threshold"] is not None and point["tar"] is not None:
            figure = {"value": point["tar"], "interval": point["interval"]}
            cells = [f"{point['far']:g}", f"{point['threshold']:.4f}", f"{point['reached']:.3g}", percent(figure)]
            rows.append(["found here", *cells])
    for one in evaluation.get("stored_thresholds") or ():
        figure = {"value": one["tar"], "interval": one["tar_interval"]}
        rows.append(["stored", f"{one['target']:g}", f"{one['threshold']:.4f}", _rate(one), percent(figure)])
    columns = ["Threshold", "For FAR", "Cosine", "FAR here", "TAR here, %"]
    return {"title": "Thresholds", "columns": columns, "rows": rows}


def stored(thresholds: list[dict[str, Any]]) -> Table:
    """The thresholds in an artifact, where no evaluation says what they do elsewhere."""
    rows = []
    for one in thresholds:
        bounds = one.get("expected")
        expected = f"[{bounds['low']:.3g}, {bounds['high']:.3g}]" if bounds else "–"
        rows.append([f"{one['far']:g}", f"{one['threshold']:.4f}", expected, str(one.get("data") or "–")])
    columns = ["For FAR", "Cosine", "FAR to expect", "Found on"]
    return {"title": "Thresholds in the artifact", "columns": columns, "rows": rows}


def _rate(one: dict[str, Any]) -> str:
    bounds = one["far_interval"]
    return f"{one['far']:.3g} [{bounds['low']:.3g}, {bounds['high']:.3g}]"


def _beside(baseline: dict[str, Any]) -> Table:
    comparison = baseline["comparison"]
    test = comparison["mcnemar"]
    rows = []
    for one in comparison["differences"]:
        bounds, reused = one["interval"], one.get("reused")
        change = f"{100 * one['change']:+.2f} [{100 * bounds['low']:+.2f}, {100 * bounds['high']:+.2f}]"
        rates = [f"{reused['far']:.3g}", f"{100 * reused['tar']:.2f}"] if reused else ["–", "–"]
        rows.append(
            [f"{one['far']:g}", f"{100 * one['baseline']:.2f}", f"{100 * one['model']:.2f}", change, *rates],
        )
    return {
        "title": "Beside the baseline",
        "caption": f"{test['flipped']} decisions of the list differ, {test['b']} for the worse and {test['c']} for the "
        f"better (McNemar p = {test['p']:.3g}). TAR and its change in per cent; the last two columns are the "
        "model at the baseline's threshold.",
        "columns": ["FAR", "TAR, baseline", "TAR, model", "Change", "FAR, reused", "TAR, reused"],
        "rows": rows,
    }


def _mixed(cells: list[dict[str, Any]]) -> Table:
    names = list(dict.fromkeys(figure["name"] for cell in cells for figure in cell["figures"]))
    names = [one for one in names if one not in ("AUC", "EER")]
    rows = []
    for cell in cells:
        shown = {figure["name"]: percent(figure) for figure in cell["figures"]}
        rows.append([cell["gallery"], cell["probe"], *(shown.get(one, "–") for one in names)])
    return {
        "title": "Mixed galleries",
        "caption": "Embeddings of one model in the gallery, of the other as probes; per cent, with 95 % intervals.",
        "columns": ["Gallery", "Probes", *names],
        "rows": rows,
    }


def _groups(groups: dict[str, Any]) -> Table:
    """Both rates of each group at everybody's thresholds."""
    rows = [
        [f"{row['attribute']}: {row['group']}", f"{row['images']:,}", f"{rates['target']:g}", _rate(rates),
         percent({"value": rates["tar"], "interval": rates["tar_interval"]})]
        for row in groups["model"]
        for rates in row["rates"]
    ]  # fmt: skip
    return {
        "title": "Groups of people",
        "caption": "What everybody's thresholds do in each group.",
        "columns": ["Group", "Images", "FAR of everybody", "FAR", "TAR, %"],
        "rows": rows,
    }
