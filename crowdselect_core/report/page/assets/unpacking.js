// Data blocks: base64 of gzip, as crowdselect_core/report/page/packing.py writes them.
"use strict";

const TYPES = {
  uint8: Uint8Array, uint16: Uint16Array, uint32: Uint32Array,
  float32: Float32Array, float64: Float64Array,
};

async function inflated(id) {
  const element = document.getElementById(id);
  if (!element) return null;
  const text = atob(element.textContent.trim());
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function unpackJson(id) {
  const bytes = await inflated(id);
  return bytes && JSON.parse(new TextDecoder().decode(bytes));
}

async function unpackText(id) {
  const bytes = await inflated(id);
  return bytes && new TextDecoder().decode(bytes);
}

async function unpackColumns(id) {
  const bytes = await inflated(id);
  if (!bytes) return null;
  const end = bytes.indexOf(0);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(0, end)));
  const columns = {};
  let start = end + 1;
  for (const [name, type, length] of header) {
    const column = new TYPES[type](length);
    const target = new Uint8Array(column.buffer);
    const width = column.BYTES_PER_ELEMENT;
    for (let plane = 0; plane < width; plane++) {
      for (let i = 0; i < length; i++) target[i * width + plane] = bytes[start++];
    }
    columns[name] = column;
  }
  return columns;
}
