import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The names are fixed, as the binary embeds the files by them.
export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "dist",
    assetsDir: "",
    rolldownOptions: {
      output: {
        entryFileNames: "page.js",
        assetFileNames: "page[extname]",
        codeSplitting: false,
      },
    },
  },
  // While the page is worked on: `gpak serve` on its usual port behind it.
  server: { proxy: { "/api": "http://127.0.0.1:7777", "/auth": "http://127.0.0.1:7777" } },
});
