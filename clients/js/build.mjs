// Makes fanwheel.min.js, the one module that the server and the npm package carry: node build.mjs [FILE]

import { build } from "esbuild";
import { writeFile } from "node:fs/promises";
import { minify } from "terser";

const HERE = new URL(".", import.meta.url);
const NOTICE = "// fanwheel client; MIT OR Apache-2.0. Sources: clients/js/src\n";

const bundle = await build({
  entryPoints: [new URL("src/client.js", HERE).pathname],
  bundle: true, format: "esm", target: "es2022", minify: true, write: false,
});
const { code } = await minify(bundle.outputFiles[0].text, {
  module: true, ecma: 2020, compress: { passes: 3, unsafe_arrows: true, pure_getters: true }, mangle: true,
});
await writeFile(process.argv[2] ?? new URL("fanwheel.min.js", HERE), NOTICE + code + "\n");
