// Where the page's own modules run without a browser: what they look at as they are loaded.

Object.assign(globalThis, {
  history: {},
  location: { search: "" },
  addEventListener: () => {},
});
