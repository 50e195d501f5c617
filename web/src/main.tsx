import { render } from "preact";

const root = document.getElementById("page");
if (root) {
  render(<h1>tallyd</h1>, root);
}
