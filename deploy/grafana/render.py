#!/usr/bin/env python3
"""Draws the panels of msrpd.json with data of a Prometheus server, where no Grafana is at hand.

    pip install matplotlib
    deploy/grafana/render.py http://127.0.0.1:9090 OUT.png [MINUTES]

The queries are the dashboard's own, with its variables filled in.
"""

import json
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

UNITS = {"s": "s", "Bps": "octets/s", "cps": "per s", "reqps": "per s", "short": "", "d": "days"}


def query(server, expression, start, end, step):
    expression = expression.replace("$instance", ".*").replace("$__rate_interval", "15s")
    parameters = urllib.parse.urlencode({"query": expression, "start": start, "end": end, "step": step})
    with urllib.request.urlopen(f"{server}/api/v1/query_range?{parameters}") as answer:
        return json.load(answer)["data"]["result"]


def legend(form, labels):
    for name, value in labels.items():
        form = form.replace("{{%s}}" % name, value)
    return form


def main():
    server, out = sys.argv[1], sys.argv[2]
    minutes = float(sys.argv[3]) if len(sys.argv) > 3 else 5
    dashboard = json.loads((Path(__file__).parent / "msrpd.json").read_text(encoding="utf-8"))
    end = time.time()
    start = end - minutes * 60
    panels = dashboard["panels"]
    columns = 3
    rows = -(-len(panels) // columns)
    plt.rcParams.update({"font.size": 7, "axes.titlesize": 8, "axes.titleweight": "bold", "axes.titlelocation": "left"})
    figure, axes = plt.subplots(rows, columns, figsize=(13, 1.95 * rows), constrained_layout=True)
    for panel, axis in zip(panels, axes.flat):
        for target in panel["targets"]:
            for series in query(server, target["expr"], start, end, 2):
                points = [(float(at) - start, float(value)) for at, value in series["values"] if value != "NaN"]
                if points:
                    name = legend(target["legendFormat"], series["metric"])
                    axis.plot(*zip(*points), linewidth=1.1, label=name)
        axis.set_title(panel["title"])
        axis.set_ylabel(UNITS.get(panel["fieldConfig"]["defaults"]["unit"], ""))
        axis.set_xlim(0, end - start)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        if axis.lines:
            axis.legend(frameon=False, fontsize=6, ncols=2, loc="upper left")
        else:
            axis.text(0.5, 0.5, "nothing happened", transform=axis.transAxes, ha="center", color="#888888")
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    figure.savefig(out, dpi=80)


main()
