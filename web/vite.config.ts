import { brotliCompressSync, constants, gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

/** The service serves what is compressed here, once, instead of compressing at each request. */
function compressed(): Plugin {
  return {
    name: "compressed",
    apply: "build",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        for (const file of Object.values(bundle)) {
          const bytes = Buffer.from(file.type === "chunk" ? file.code : file.source);
          const brotli = brotliCompressSync(bytes, {
            params: {
              [constants.BROTLI_PARAM_QUALITY]: 11,
              [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length,
            },
          });
          const emit = (ending: string, source: Buffer) =>
            this.emitFile({ type: "asset", fileName: `${file.fileName}.${ending}`, source });
          emit("br", brotli);
          emit("gz", gzipSync(bytes, { level: 9 }));
        }
      },
    },
  };
}

export default defineConfig({
  build: {
    target: "es2022",
    // Inlined files would need `data:` in the policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    // Its own report compresses everything once more.
    reportCompressedSize: false,
  },
  plugins: [compressed()],
  // `npm run dev` shows the figures of a service that runs on its usual port. It answers to its own
  // name only, so the name is put in place here.
  server: { proxy: proxyTo(process.env.TALLYD_URL ?? "http://127.0.0.1:8474") },
});

function proxyTo(target: string) {
  const { origin } = new URL(target);
  const route = { target, changeOrigin: true, headers: { origin } };
  return { "/api": route, "/health": route, "/livez": route, "/readyz": route };
}
