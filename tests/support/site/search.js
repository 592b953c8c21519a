// Ask the search of the built site, with the site's own worker: node search.js SITE QUERY … prints one JSON list a query.
"use strict";
const fs = require("fs");
const path = require("path");
const vm = require("vm");

const [site, ...queries] = process.argv.slice(2);
const folder = path.join(site, "assets", "javascripts", "workers");
const [file] = fs.readdirSync(folder).filter((name) => /^search\..*\.js$/.test(name));
const index = JSON.parse(fs.readFileSync(path.join(site, "search", "search_index.json"), "utf8"));

let listener;
let answered;
const scope = {
  console, setTimeout, clearTimeout, performance, URL,
  addEventListener: (kind, heard) => { listener = heard; },
  postMessage: (message) => answered(message),
  importScripts: () => { throw new Error("the search loads another script"); },
  location: new URL("http://localhost/"),
};
scope.self = scope.window = scope.globalThis = scope;
vm.runInNewContext(fs.readFileSync(path.join(folder, file), "utf8"), scope);

const ask = (data) => new Promise((resolve) => { answered = resolve; listener({ data }); });

(async () => {
  await ask({ type: 0, data: { ...index, options: { suggest: false } } });
  for (const query of queries) {
    const { data } = await ask({ type: 2, data: query });
    console.log(JSON.stringify(data.items.map((page) => page.map((entry) => entry.location))));
  }
})();
