// Elements. Texts from data are only ever set as text.
"use strict";

function byId(id) { return document.getElementById(id); }

function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  for (const child of children) if (child !== null && child !== undefined) element.append(child);
  return element;
}

function dataText(text, tag = "bdi") { return make(tag, { dir: "auto", class: "data" }, text); }

function fixed(value, digits = 3) {
  return value === null || value === undefined || Number.isNaN(value) ? "–" : value.toFixed(digits);
}

function share(value) {
  return value === null || value === undefined || Number.isNaN(value)
    ? "–" : `${Math.round(value * 100)} %`;
}

function counted(n) { return n.toLocaleString("en-US"); }

function options(select, values, format = String) {
  for (const value of values) select.append(make("option", { value: String(value) }, format(value)));
}

// Calls `work` once the page has been drawn, for the last of many quick calls.
function soon(work) {
  let waiting = 0;
  return () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => { waiting = requestAnimationFrame(work); });
  };
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}
