#!/usr/bin/env python3
"""Bars of CPU cost from a table of `perf/compare.py`, as an SVG that needs nothing else.

    perf/compare.py > table.md && perf/plot.py table.md > perf/results/DATE-cpu.svg
"""

import sys
from html import escape

PANELS = [
    ("300 octets, window 16, foreign sender", "300 octets, 16 under way for each pair", "us per message"),
    ("300 octets, window 1", "300 octets, one under way for each pair", "us per message"),
    ("2 KiB chunks", "2 KiB chunks", "ns per octet"),
    ("64 KiB chunks", "64 KiB chunks", "ns per octet"),
]
COLOURS = {"msrpd": "#2a6fdb", "haproxy": "#8a97a8", "nginx": "#b3bdca", "kamailio": "#d98c3f"}
LABELS = {"msrpd": "msrpd", "haproxy": "HAProxy *", "nginx": "nginx *", "kamailio": "Kamailio"}
WIDTH, LEFT, BAR, GAP = 720, 110, 18, 6


def read(path):
    rows = {}
    with open(path, encoding="utf-8") as table:
        for line in table:
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if len(cells) >= 5 and "CPU" in cells[1]:
                rows.setdefault(cells[0], {})[cells[2]] = float(cells[3].replace(",", ""))
    return rows


def main():
    rows = read(sys.argv[1])
    out, y = [], 34
    text = lambda x, y, what, size=13, anchor="start", weight="normal": out.append(
        f'<text x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}" font-weight="{weight}">{escape(what)}</text>'
    )
    text(12, 22, "CPU of one core, TLS 1.3 on both sides (less is better)", 15, weight="bold")
    for row, title, unit in PANELS:
        systems = [(name, rows[row][name]) for name in COLOURS if name in rows.get(row, {})]
        if not systems:
            continue
        y += 26
        text(12, y, f"{title}, {unit}", 13, weight="bold")
        y += 10
        most = max(value for _, value in systems)
        for name, value in systems:
            long = max(2, (WIDTH - LEFT - 80) * value / most)
            text(LEFT - 8, y + 14, LABELS[name], 13, "end")
            out.append(
                f'<rect x="{LEFT}" y="{y}" width="{long:.1f}" height="{BAR}" rx="2" fill="{COLOURS[name]}"/>'
            )
            text(LEFT + long + 6, y + 14, f"{value:.2f}" if value < 10 else f"{value:.1f}")
            y += BAR + GAP
    y += 18
    text(12, y, "* passes octets on, knows nothing of messages", 12)
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 14}" viewBox="0 0 {WIDTH} {y + 14}" '
        'font-family="system-ui, sans-serif" fill="#1f2933">'
        f'<rect width="{WIDTH}" height="{y + 14}" fill="#ffffff"/>' + "".join(out) + "</svg>"
    )


main()
