// Selection in the page, to the row as crowdselect_core/selection does it: quantiles anew over the
// rows that are eligible, float64 in the same order of operations, ties by id.
//
// data: rows in id order. keys: per metric the dense rank of each row's value, NONE where it is
// undefined; distinct: values per metric; fit: 1 where a row is eligible as far as weights do not
// matter; cluster: 0..k-1. With `order` in place of keys, rows rank by that dense rank, best first.
"use strict";

const NONE = 0xffffffff;
const WHOLE = 2 ** 52;  // from here on float64 has no fractions

function roundedTo12(x) {  // half to even, as numpy.round
  const y = x * 1e12;
  const whole = Math.abs(y) >= WHOLE ? y : y >= 0 ? y + WHOLE - WHOLE : y - WHOLE + WHOLE;
  return whole / 1e12;
}

function eligibleRows(data, weights) {
  const used = data.keys ? data.keys.filter((_, m) => weights[m] !== 0) : [data.order];
  const rows = new Uint32Array(data.fit.length);
  let n = 0;
  for (let i = 0; i < rows.length; i++) {
    if (data.fit[i] && used.every((key) => key[i] !== NONE)) rows[n++] = i;
  }
  return rows.subarray(0, n);
}

// (average rank - 1) / (n - 1) of each row's value among those of all rows given.
function quantilesOf(key, distinct, rows) {
  const equal = new Uint32Array(distinct);
  let n = 0;
  for (const row of rows) if (key[row] !== NONE) { equal[key[row]]++; n++; }
  const below = new Float64Array(distinct);
  for (let v = 0, before = 0; v < distinct; v++) {
    below[v] = before + (equal[v] - 1) / 2;
    before += equal[v];
  }
  const q = new Float64Array(rows.length);
  for (let i = 0; i < rows.length; i++) {
    const value = key[rows[i]];
    q[i] = value === NONE ? NaN : n <= 1 ? 0.5 : below[value] / (n - 1);
  }
  return q;
}

function rankedRows(data, weights) {
  const rows = eligibleRows(data, weights);
  const score = new Float64Array(rows.length);
  const quantiles = data.keys ? data.keys.map((k, m) => quantilesOf(k, data.distinct[m], rows)) : [];
  if (data.keys) {
    weights.forEach((w, m) => {
      if (w !== 0) for (let i = 0; i < score.length; i++) score[i] += w * quantiles[m][i];
    });
    for (let i = 0; i < score.length; i++) score[i] = roundedTo12(score[i]);
  } else {
    for (let i = 0; i < score.length; i++) score[i] = -data.order[rows[i]];
  }
  const places = new Uint32Array(rows.length).map((_, i) => i);
  places.sort((a, b) => score[b] - score[a] || a - b);
  return { rows, score, quantiles, places };  // places: best first, into the others
}

function laidOut(cluster, rows, places) {
  const ids = [...new Set(Array.from(rows, (row) => cluster[row]))].sort((a, b) => a - b);
  const group = new Map(ids.map((id, c) => [id, c]));
  const of = new Uint32Array(places.length), within = new Uint32Array(places.length);
  const members = ids.map(() => []);
  places.forEach((place, e) => {
    const c = group.get(cluster[rows[place]]);
    of[e] = c;
    within[e] = members[c].length;
    members[c].push(e);
  });
  return { ids, of, within, members, sizes: members.map((m) => m.length) };
}

function nextRows(layout, share) {  // where each cluster's next row ranks; after all where none
  return layout.members.map((m, c) => (share[c] < m.length ? m[share[c]] : layout.of.length));
}

function equalShares(layout, budget) {
  const { sizes } = layout;
  let low = 0, high = Math.max(0, ...sizes);
  while (low < high) {
    const middle = Math.floor((low + high + 1) / 2);
    const sum = sizes.reduce((total, size) => total + Math.min(size, middle), 0);
    if (sum <= budget) low = middle; else high = middle - 1;
  }
  const share = sizes.map((size) => Math.min(size, low));
  const left = budget - share.reduce((a, b) => a + b, 0);
  const next = nextRows(layout, share);
  const open = sizes.map((_, c) => c).filter((c) => share[c] < sizes[c]);
  open.sort((a, b) => next[a] - next[b]).slice(0, left).forEach((c) => share[c]++);
  return share;
}

function proportionalShares(layout, budget) {
  const total = Math.max(layout.of.length, 1);
  const share = layout.sizes.map((size) => Math.floor((size * budget) / total));
  const remainder = layout.sizes.map((size, c) => size * budget - share[c] * total);
  const left = budget - share.reduce((a, b) => a + b, 0);
  const next = nextRows(layout, share);
  const order = share.map((_, c) => c);
  order.sort((a, b) => remainder[b] - remainder[a] || next[a] - next[b] || a - b);
  order.slice(0, left).forEach((c) => share[c]++);
  return share;
}

function chosenPlaces(layout, budget, quota) {
  const all = Array.from(layout.of, (_, e) => e);
  if (quota === "reference") {
    const share = Math.ceil(budget / Math.max(layout.sizes.length, 1));
    return all.filter((e) => layout.within[e] < share).slice(0, budget);
  }
  const share = (quota === "equal" ? equalShares : proportionalShares)(layout, budget);
  return all.filter((e) => layout.within[e] < share[layout.of[e]]);
}

// Rows of a budget as it is written: 200, or 0.05 of the eligible rows, rounded down exactly.
function rowsOfBudget(text, eligible) {
  if (/^\d+$/.test(text)) return Number(text) >= 1 ? Number(text) : null;
  const found = /^(\d*)\.(\d+)$/.exec(text);
  if (!found) return null;
  const scale = 10n ** BigInt(found[2].length);
  const share = BigInt((found[1] || "0") + found[2]);
  if (share <= 0n || share > scale) return null;
  const rows = Number((share * BigInt(eligible)) / scale);
  return rows >= 1 ? rows : null;
}

// Returns the chosen rows, best first, or why there are none.
function reselected(data, { weights, budget, quota }) {
  if (data.keys && weights.every((w) => w === 0)) return { error: "give one metric a weight" };
  const ranked = rankedRows(data, weights);
  const eligible = ranked.rows.length;
  const wanted = rowsOfBudget(String(budget), eligible);
  if (wanted === null) {
    return { error: "budget: a number of rows (200), or a share of the eligible rows (0.05)" };
  }
  if (!eligible) return { error: "no row is eligible with these weights" };
  const layout = laidOut(data.cluster, ranked.rows, ranked.places);
  const places = chosenPlaces(layout, Math.min(wanted, eligible), quota)
    .map((e) => ranked.places[e]);
  return {
    rows: places.map((p) => ranked.rows[p]),
    scores: places.map((p) => ranked.score[p]),
    ranked, eligible, wanted,
  };
}
