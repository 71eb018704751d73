// Looks at every page that stands in a frame, and writes down what a reader could not read.
"use strict";

/** Of a colour as `rgb(…)`: the relative luminance of WCAG. */
function luminance(colour) {
  const parts = colour.match(/[\d.]+/g).slice(0, 3).map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

/** What lies behind an element. */
function background(view, element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = view.getComputedStyle(at).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return colour;
  }
  return "rgb(255, 255, 255)";
}

function visible(element) {
  return element.getClientRects().length > 0;
}

function look(frame) {
  const view = frame.contentWindow;
  const body = frame.contentDocument.body;
  const width = frame.contentDocument.documentElement.clientWidth;
  const said = (element) => element.outerHTML.slice(0, 120);
  const all = [...body.querySelectorAll("*")].filter(visible);
  const html = all.filter((element) => !element.closest("svg"));
  const words = html.filter((element) =>
    [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim()));
  const labels = all.filter((element) => element.localName === "text");
  const sections = [...body.querySelectorAll("section")];
  const charts = sections.filter((section) => section.querySelector("svg"));
  const overlapping = [];
  for (const chart of charts) {
    const rows = new Map();
    for (const label of labels.filter((label) => chart.contains(label))) {
      const box = label.getBoundingClientRect();
      const row = rows.get(Math.round(box.top)) ?? [];
      if (row.some((other) => box.left < other.right && other.left < box.right)) {
        overlapping.push(`${chart.querySelector("h2").textContent}: ${label.textContent}`);
      }
      rows.set(Math.round(box.top), [...row, box]);
    }
  }
  return {
    page: frame.dataset.name,
    width,
    background: view.getComputedStyle(body).backgroundColor,
    beyond: html.filter((element) => element.getBoundingClientRect().right > width + 1).map(said),
    cut: html.filter((element) => element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0).map(said),
    overlapping,
    contrast: Math.min(...words.map((element) =>
      contrast(view.getComputedStyle(element).color, background(view, element)))),
    smallest: Math.min(...[...words, ...labels].map((element) => {
      const drawing = element.closest("svg");
      const scale = drawing ? drawing.getBoundingClientRect().width / drawing.viewBox.baseVal.width : 1;
      return parseFloat(view.getComputedStyle(element).fontSize) * scale;
    })),
    charts: charts.length,
    shown: charts.filter((chart) => [...chart.querySelectorAll("svg")].filter(visible).length === 1).length,
  };
}

addEventListener("load", () => {
  const found = [...document.querySelectorAll("iframe")].map(look);
  document.querySelector("#found").textContent = JSON.stringify(found);
});
